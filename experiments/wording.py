"""Numbers and findings in words: every sentence of the report is made here, from the numbers, claiming no more."""

from collections.abc import Mapping, Sequence
from typing import Any

from headtohead.core.readout import READOUTS
from headtohead.experiments.inference import LEVEL, MARGIN
from headtohead.experiments.record import RunRecord
from headtohead.experiments.statistics import Spread, StrategySummary, Summary, Verdict

UNKNOWN = "–"
LEVEL_WORDS = f"{100 * LEVEL:.0f} %"
MARGIN_WORDS = f"{100 * MARGIN:g} points"
# What a mark beside a strategy says.
STANDINGS = {
    Verdict.BEST: "the highest test accuracy; not a claim that it is the best",
    Verdict.AS_GOOD: f"as good as the best: shown to lie less than {MARGIN_WORDS} below it",
    Verdict.OPEN: "too few data to tell it from the best",
    Verdict.BELOW: "below the best beyond chance",
    Verdict.UNTESTED: "not tested against the best: one seed, or no predictions",
}
NOT_LEARNED = "did not learn: train accuracy is not above that of always naming the most frequent class"
PAIRS = (
    "The row's test accuracy less the column's, in points, and the p-value that both are equally accurate, adjusted for "
    f"all pairs at once. Marked: they differ beyond chance (adjusted p below {1 - LEVEL:.2f})."
)
CITATION = """\
@software{headtohead,
  author = {{headtohead contributors}},
  title = {headtohead: finetuning strategies of GPT-2 compared under one protocol},
  license = {MIT}
}"""


def answer(summary: Summary) -> list[str]:
    """Sentences of one paragraph: what won, what cannot be told apart from it, what it cost, what is left out."""
    best = summary.best
    if best is None:
        return [
            part
            for part in ("No run finished, so there is nothing to compare.", _unfinished(summary))
            if part
        ]
    parts = [_lead(summary, best), *_standings(summary, best), _majority(summary), _not_learned(summary)]
    parts += [*_cost(summary, best), _unfinished(summary), *_demo_limits(summary)]
    return [part for part in parts if part]


def _lead(summary: Summary, best: StrategySummary) -> str:
    level = f"{percent(best.test_accuracy)} % of {summary.test_size} test messages"
    over = f" (mean of {len(best.runs)} seeds)" if len(best.runs) > 1 else ""
    interval = f"{LEVEL_WORDS} interval {interval_words(best)} %{_picked(summary, best)}"
    if len(summary.finished) == 1:
        return f"{best.label} classified {level} correctly{over}; {interval}. There is nothing to compare it with."
    same = [row.label for row in summary.finished if row.test_accuracy == best.test_accuracy]
    if len(same) > 1:
        return f"{listed(same)} share the highest test accuracy: {level}{over}, {interval} for {best.label}."
    return f"{best.label} has the highest test accuracy: {level}{over}, {interval}."


def _picked(summary: Summary, best: StrategySummary) -> str:
    """What the interval of the best allows for, and what it does not."""
    notes = ["of this trained model only"] if len(best.runs) == 1 else []
    if best.standing and summary.contenders > 1:
        notes.append(f"allowing for its being picked out of {summary.contenders}")
    return f" ({', '.join(notes)})" if notes else ""


def _standings(summary: Summary, best: StrategySummary) -> list[str]:
    """Which others are below the best, which as good, and for which there are too few data to tell."""
    if len(summary.finished) < 2:
        return (
            []
            if len(best.runs) > 1
            else ["One seed was run: how much it changes with the seed is not measured."]
        )
    if len(best.runs) == 1:
        return [_one_seed(summary, best)]
    if best.label in summary.unpaired:
        return [
            "No strategy may be called best: the predictions and data/test.csv do not allow a paired test."
        ]
    if summary.clear_winner:
        others = "the other one" if len(summary.finished) == 2 else "every other strategy"
        return [f"It is better than {others} beyond chance."]
    good, below, untested = (
        [row.label for row in summary.with_verdict(verdict)]
        for verdict in (Verdict.AS_GOOD, Verdict.BELOW, Verdict.UNTESTED)
    )
    sentences = (
        [f"{listed(good, 6)} {_are(good)} as good: less than {MARGIN_WORDS} below it."] if good else []
    )
    sentences += _open(summary)
    if below:
        sentences.append(f"{listed(below, 6)} {_are(below)} below it beyond chance.")
    if untested:
        sentences.append(f"Not tested against it, for want of seeds or predictions: {listed(untested, 6)}.")
    return sentences


def _one_seed(summary: Summary, best: StrategySummary) -> str:
    which = "One seed was run" if not summary.several_seeds else f"{best.label} has one finished seed"
    return (
        f"{which}: how much the result changes from seed to seed is not measured, so no difference between strategies is "
        "claimed; --seeds 123,124,125 would measure it."
    )


def _open(summary: Summary) -> list[str]:
    rows = summary.with_verdict(Verdict.OPEN)
    if not rows:
        return []
    worst = max(row.standing.shortfall_limit or 0.0 for row in rows if row.standing)
    it = "it" if len(rows) == 1 else "them"
    return [
        f"There are too few data to tell it from {listed([row.label for row in rows], 6)}, or to call {it} as good: "
        f"{'it' if it == 'it' else 'they'} may be up to {percent(worst)} points below."
    ]


def _majority(summary: Summary) -> str:
    """Which are not shown to beat always naming the most frequent class of the test messages."""
    labels = [row.label for row in summary.finished if row.above_majority is False and not row.is_baseline]
    if not labels:
        return ""
    rule = f"always naming the most frequent class ({percent(summary.majority_share)} %)"
    return f"{listed(labels, 6)} {_are(labels)} not shown to beat {rule}."


def _not_learned(summary: Summary) -> str:
    """Which runs did not learn their own training messages."""
    if not summary.not_learned:
        return ""
    whom, share = [], 0.0
    for row in summary.not_learned:
        assert row.learning is not None
        seeds, share = row.learning.failed_seeds, row.learning.majority_share
        part = f" (seed{'' if len(seeds) == 1 else 's'} {listed([str(seed) for seed in seeds])})"
        whom.append(row.label + (part if len(seeds) < len(row.runs) else ""))
    return (
        f"{listed(whom, 6)} did not learn: accuracy on the training messages is not above that of always naming their "
        f"most frequent class ({percent(share)} %)."
    )


def _cost(summary: Summary, best: StrategySummary) -> list[str]:
    """What the best costs, and which is cheapest among those shown to be as good."""
    sentences = [f"{best.label} {_effort(best)}." if _effort(best) else ""]
    group = [row for row in summary.finished if row.within_margin and row.above_majority]
    if len(group) < 2:
        return [*sentences, _nothing_cheaper(summary, best)]
    smallest, fastest = _smallest(group), _fastest(group)
    among = f"Of the {len(group)} shown to lie within {MARGIN_WORDS} of the best (itself included),"
    if smallest is not None and smallest is not best:
        sentences.append(
            f"{among} {smallest.label} trains the fewest parameters ({count(_trained(smallest))})."
        )
        among = "Among them"
    if fastest is not None and fastest is not best:
        sentences.append(
            f"{among} {fastest.label} trained fastest ({short_seconds(_train_seconds(fastest))})."
        )
    together = [row.label for row in group if any(run.grouped for run in row.runs)]
    if together:
        sentences.append(
            f"Training times are not compared: {listed(together, 6)} had several seeds timed together."
        )
    return sentences


def _nothing_cheaper(summary: Summary, best: StrategySummary) -> str:
    """Why none is named, where a smaller one might be expected: one that is not shown to be below the best."""
    leaders = [row for row in summary.finished if row.label in summary.leaders]
    if not summary.comparisons or all(_trained(row) >= _trained(best) for row in leaders):
        return ""
    return f"No smaller one is named: none is shown to beat the most frequent class and to lie within {MARGIN_WORDS} of it."


def _trained(row: StrategySummary) -> int:
    """How many parameters of the model a finished strategy trains; a baseline has none."""
    return row.trainable_params or 0


def _smallest(group: Sequence[StrategySummary]) -> StrategySummary | None:
    """The one with the fewest trained parameters; None where another has as few."""
    ranked = sorted(group, key=_trained)
    return None if _trained(ranked[0]) == _trained(ranked[1]) else ranked[0]


def _fastest(group: Sequence[StrategySummary]) -> StrategySummary | None:
    """The one whose slowest run took less time than any run of the others; None where there is none such.

    Runs of which several were timed together are comparable with no other, so with one of them none is fastest.
    """
    times = {row.label: [_run_seconds(run) for run in row.runs if not run.grouped] for row in group}
    known = {label: [each for each in values if each is not None] for label, values in times.items()}
    if any(len(known[row.label]) < len(row.runs) for row in group):
        return None
    ranked = sorted(group, key=lambda row: max(known[row.label]))
    first, others = ranked[0], ranked[1:]
    return first if max(known[first.label]) < min(min(known[row.label]) for row in others) else None


def _run_seconds(run: RunRecord) -> float | None:
    """What the training took whose classifier was tested, with the frozen prefix; choosing settings is said apart."""
    return None if run.train_seconds is None else run.train_seconds + (run.prefix_seconds or 0.0)


def _train_seconds(row: StrategySummary) -> float:
    spread = Spread.of([_run_seconds(run) for run in row.timed_runs])
    return spread.mean if spread else float("inf")


def _effort(row: StrategySummary) -> str:
    trained = []
    if row.trainable_params == 0:
        trained.append("trained no parameter of the model")
    elif row.trainable_params is not None:
        trained.append(
            f"trained {count(row.trainable_params)} parameters ({share(row.constant('trainable_percent'))} %)"
        )
    if row.timing("train_seconds"):
        prefix = ", frozen prefix included" if row.timing("prefix_seconds") else ""
        together = ", several seeds together" if row.timed_in_groups else ""
        selection = row.timing("selection_seconds")
        before = f" after {short_seconds(selection.mean)} of choosing its settings" if selection else ""
        trained.append(f"took {short_seconds(_train_seconds(row))} to train{prefix}{together}{before}")
    return listed(trained)


def _are(labels: Sequence[str]) -> str:
    return "is" if len(labels) == 1 else "are"


def _unfinished(summary: Summary) -> str:
    missing = sum(len(row.missing_seeds) for row in summary.rows)
    parts = [f"{len(summary.failed)} {plural('run', len(summary.failed))} failed"] if summary.failed else []
    parts += (
        [f"{missing} {plural('run', missing)} {'is' if missing == 1 else 'are'} still to be done"]
        if missing
        else []
    )
    return f"{' and '.join(parts)}: shown in the table, counted nowhere." if parts else ""


def _demo_limits(summary: Summary) -> list[str]:
    parts = summary.experiment.demo_parts
    if not parts:
        return []
    what = {"model": "a small GPT of our own", "dataset": "a small corpus of its own"}
    return [f"This is a DEMO on {' and '.join(what[part] for part in parts)}: it shows how headtohead works and says "
            "nothing about GPT-2's accuracy."]  # fmt: skip


def demo_banner(summary: Summary) -> str:
    """What the demo replaced and how to supply the real thing; empty where nothing was replaced."""
    what = {
        "model": "GPT-2 is replaced by a 4-layer GPT that was pretrained on public text (supply the real one with --model 124M or --weights-dir DIR)",
        "dataset": "the SMS Spam Collection is replaced by the embedded demo messages (supply it with --data sms_spam or --data FILE)",
    }
    parts = [what[part] for part in summary.experiment.demo_parts]
    return (
        f"{'; '.join(parts)}. The numbers below say nothing about real GPT-2 or real messages."
        if parts
        else ""
    )


def batches(config: Mapping[str, Any]) -> str:
    """The batches of a protocol: "batches of 8", or "batches of 2, the gradients of 4 accumulated"."""
    if "batch_size" not in config:
        return ""
    together = config.get("accumulation_steps", 1)
    more = f", the gradients of {together} accumulated" if together > 1 else ""
    return f"batches of {config['batch_size']}{more}"


def protocol_title(summary: Summary) -> str:
    """What tells a protocol from the others of its folder: "1 epoch, batches of 8, 60 tokens, last_real"."""
    about = summary.experiment.description
    if "compared" in about:
        return f"other test messages ({', '.join(about['compared']['names'])})"
    config = about["train_config"]
    epochs = config.get("epochs")
    parts = [
        f"{epochs} {plural('epoch', epochs)}" if epochs else "",
        batches(config),
        f"{about['dataset'].get('max_length')} tokens",
        str(config.get("position", "")),
        "no causal mask" if config.get("causal") is False else "",
        "one output" if config.get("outputs") == 1 else "",
        "class weights" if config.get("class_weights") else "",
        f"gradients of {config['accumulation_steps']} batches"
        if config.get("accumulation_steps", 1) > 1
        else "",
        about.get("precision") or "",
    ]
    return ", ".join(part for part in parts if part)


def protocol(summary: Summary) -> list[str]:
    """What was compared and how, one sentence a line."""
    about = summary.experiment.description
    if about.get("compared", {}).get("differ"):
        return _across(summary)
    config, seeds = about["train_config"], about["seeds"]
    length = (
        f"{config['epochs']} {plural('epoch', config['epochs'])}"
        if "epochs" in config
        else "The same number of epochs"
    )
    batch = f" in {batches(config)}" if batches(config) else ""
    read = READOUTS.get(config.get("position", ""), config.get("position"))
    mask = ", without a causal mask" if config.get("causal") is False else ""
    return [
        f"{len(summary.rows)} {plural('strategy', len(summary.rows))}, the same pretrained weights, the same messages, "
        "the same protocol: only what is trained differs.",
        *_data_sentences(about["dataset"]),
        _model_sentence(about["model"]),
        f"Training: {length}{batch}, AdamW, {_loss(config)}"
        + (f" on the logits of {read}{mask}." if read else ".")
        + " Learning rates: " + learning_rates(summary) + ".",
        f"{plural('Seed', len(seeds))}: {', '.join(str(seed) for seed in seeds)}.",
        "Train, validation and test accuracy are taken on the full splits after the last epoch; no strategy was chosen "
        "or stopped by its test accuracy.",
    ]  # fmt: skip


def _loss(config: dict[str, Any]) -> str:
    loss = "binary cross-entropy of one output" if config.get("outputs") == 1 else "cross-entropy"
    return loss + (", classes weighed by how rare they are," if config.get("class_weights") else "")


def _across(summary: Summary) -> list[str]:
    """The same of several experiments that differ in more than what is trained."""
    about = summary.experiment.description["compared"]
    return [
        f"{len(summary.rows)} rows of {listed(about['names'])}, tested on the same {summary.test_size:,} messages.",
        f"They differ in {listed(about['differ'])}: only rows of the same experiment differ in what is trained alone.",
    ]


def _data_sentences(dataset: dict[str, Any]) -> list[str]:
    rows = dataset["rows"]
    classes = ", ".join(dataset["label_names"])
    return [
        f"Data: {dataset['name']} ({dataset['source'].rstrip('.')}); {rows['train']:,} training, {rows['validation']:,} "
        f"validation and {rows['test']:,} test messages; classes {classes}; at most {dataset['max_length']} tokens each."
    ]


def _model_sentence(model: dict[str, Any]) -> str:
    config = model.get("config") or {}
    known = [f"{config[name]} {word}" for name, word in (("n_layers", "blocks"), ("emb_dim", "dimensions"), ("n_heads", "heads"))
             if name in config]  # fmt: skip
    shape = f", {', '.join(known)}" if known else ""
    return f"Model: {model['name']} ({model['source'].rstrip('.')}){shape}."


def learning_rates(summary: Summary) -> str:
    """Each learning rate with the strategies that use it: "5e-05 (head and last_block), 0.0008 (lora)"."""
    users: dict[str, list[str]] = {}
    for row in summary.rows:
        users.setdefault(rate(row.learning_rate), []).append(row.label)
    if len(users) == 1:
        return next(iter(users)) + " for all"
    return ", ".join(
        f"{'none' if value == UNKNOWN else value} ({listed(labels, 4)})" for value, labels in users.items()
    )


def certainty(summary: Summary) -> list[str]:
    """How sure one can be with this many test messages, and how it was worked out."""
    size, best = summary.test_size, summary.best
    sentences = [f"One of {size} test messages is worth {100 / size:.2f} percentage points."]
    if best is not None and best.interval is not None:
        sentences.append(
            f"The {LEVEL_WORDS} interval of {best.label} is {interval_words(best)} %{_picked(summary, best)}."
        )
    if summary.several_seeds:
        sentences.append(
            "Intervals are Wilson's for the shared test messages, widened by what the seeds add; how much results vary from "
            "seed to seed is pooled over the strategies, with a strategy's own spread where that is larger. The best one's "
            "lower limit is corrected for its having been picked; the others' hold for each on its own."
        )
    else:
        sentences.append(
            "Intervals are Wilson's, of these trained models: another seed would give other models. The best one's "
            "lower limit is corrected for its having been picked."
        )
    sentences += _tests(summary)
    if summary.unpaired:
        sentences.append(
            f"Without predictions that agree with data/test.csv, not compared: {', '.join(summary.unpaired)}."
        )
    seen = summary.experiment.description["dataset"].get("test_texts_seen_in_train")
    if seen is not None:
        sentences.append(f"{seen} of the {size} test texts also occur word for word in the training texts.")
    return sentences


def _tests(summary: Summary) -> list[str]:
    if not summary.comparisons:
        return []
    alpha = f"{1 - LEVEL:.2f}"
    return [
        "Strategies are compared message by message and over their seeds. Below the best “beyond chance” means a p-value "
        f"below {alpha}, corrected step by step for all strategies and for the best being picked by the same numbers (range "
        f"test); “as good” means that being {MARGIN_WORDS} or more below it is refuted at {alpha}, corrected after Holm. Where "
        "neither holds there are too few data to tell: not distinguishable is not the same as equal."
    ]


# --- numbers --------------------------------------------------------------------------------------------


def percent(fraction: float | None) -> str:
    """0.9567 -> "95.7"."""
    return UNKNOWN if fraction is None else f"{100 * fraction:.1f}"


def interval_words(row: StrategySummary) -> str:
    """The interval of the test accuracy in percent: "94.0 to 98.2"."""
    return f"{percent(row.interval[0])} to {percent(row.interval[1])}" if row.interval else UNKNOWN


def share(value: float | None) -> str:
    """A share in percent, with two digits that mean something: "0.0012", "5.70", "100"."""
    if value is None:
        return UNKNOWN
    return f"{value:.3g}" if value >= 0.01 or value == 0 else f"{value:.2g}"


def count(value: int | None) -> str:
    """124441346 -> "124,441,346"."""
    return UNKNOWN if value is None else f"{value:,}"


def rate(value: float | None) -> str:
    """A learning rate as short as it can be written: "5e-05", "0.0008"."""
    return UNKNOWN if value is None else f"{value:g}"


def listed(words: Sequence[str], most: int = 99) -> str:
    """ "a", "a and b", "a, b and c"; above ``most`` the rest is counted."""
    if len(words) > most:
        return f"{', '.join(words[: most - 1])} and {len(words) - most + 1} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plural(word: str, number: int) -> str:
    """ "run", 2 -> "runs"; "strategy", 2 -> "strategies"."""
    if number == 1:
        return word
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def short_count(value: float) -> str:
    """1538 -> "1.54 K", 124441346 -> "124 M"."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def short_seconds(value: float) -> str:
    """0.0123 -> "0.012 s", 75 -> "1 min 15 s", 5400 -> "1 h 30 min"."""
    if value < 59.95:
        return f"{value:.3f} s" if value < 0.1 else f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def short_bytes(value: float | None) -> str:
    """6e8 -> "572 MiB"."""
    if value is None:
        return UNKNOWN
    for size, letter in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.0f} B"


def p_words(value: float) -> str:
    """A p-value: "p 0.034", "p < 0.001"."""
    return "p < 0.001" if value < 0.001 else f"p {value:.3f}" if value < 0.1 else f"p {value:.2f}"


def points(difference: float) -> str:
    """A difference of two shares in percentage points with its sign: "+1.2", "−0.3", "0.0"."""
    text = f"{abs(100 * difference):.1f}"
    return text if float(text) == 0 else f"{'+' if difference > 0 else '−'}{text}"
