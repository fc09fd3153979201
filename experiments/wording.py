"""Numbers and findings in words: every sentence of the report is made here, from the numbers, claiming no more."""

from collections.abc import Sequence
from typing import Any

from headtohead.experiments.statistics import LEVEL, StrategySummary, Summary

UNKNOWN = "–"
LEVEL_WORDS = f"{100 * LEVEL:.0f} %"
POSITIONS = {"last": "the last position (padding included)", "last_real": "the last real token"}


def answer(summary: Summary) -> list[str]:
    """Sentences of one paragraph: what won, what cannot be told apart from it, what it cost, what is left out."""
    best = summary.best
    if best is None:
        return [
            part
            for part in ("No run finished, so there is nothing to compare.", _unfinished(summary))
            if part
        ]
    parts = [_lead(summary, best), *_ties(summary, best), *_chance(summary, best), *_cost(summary, best)]
    parts += [_seeds(summary), _unfinished(summary), *_demo_limits(summary)]
    return [part for part in parts if part]


def _lead(summary: Summary, best: StrategySummary) -> str:
    level = f"{percent(best.test_accuracy)} % of {summary.test_size} test messages"
    over = f" (mean of {len(best.runs)} seeds)" if len(best.runs) > 1 else ""
    interval = f"{LEVEL_WORDS} interval {interval_words(best)} %"
    if len(summary.finished) == 1:
        return f"{best.label} classified {level} correctly{over}; {interval}. There is nothing to compare it with."
    same = [row.label for row in summary.finished if row.test_accuracy == best.test_accuracy]
    if len(same) > 1:
        return f"{listed(same)} share the highest test accuracy: {level}{over}, {interval} for {best.label}."
    return f"{best.label} has the highest test accuracy: {level}{over}, {interval}."


def _ties(summary: Summary, best: StrategySummary) -> list[str]:
    others = [row for row in summary.finished if row is not best]
    if not others:
        return []
    if not summary.comparisons:
        return [
            "No strategy may be called best: the predictions and data/test.csv do not allow a paired test."
        ]
    tied = [
        row.label
        for row in others
        if row.label in summary.leaders and row.test_accuracy != best.test_accuracy
    ]
    beaten = [row.label for row in others if row.label not in summary.leaders]
    chance = "beyond chance" if summary.several_seeds else "beyond chance in the choice of test messages"
    if summary.clear_winner:
        return [
            f"It is better than {'the other one' if len(beaten) == 1 else 'every other strategy'} {chance}."
        ]
    sentences = (
        [f"On these messages {best.label} is not distinguishable from {listed(tied, 6)}."] if tied else []
    )
    if beaten:
        return [
            *sentences,
            f"{listed(beaten, 6)} {'is' if len(beaten) == 1 else 'are'} below it {chance}.",
        ]
    return [*sentences, f"None of the others is below it {chance}."]


def _chance(summary: Summary, best: StrategySummary) -> list[str]:
    share = summary.majority_share
    if share is None or best.interval is None or best.interval[0] > share:
        return []
    return [f"That is not distinguishable from always naming the most frequent class ({percent(share)} %)."]


def _cost(summary: Summary, best: StrategySummary) -> list[str]:
    """What the best costs and, among those that cannot be told apart, which is cheapest."""
    sentences = [f"{best.label} {_effort(best)}." if _effort(best) else ""]
    group = [row for row in summary.finished if row.label in summary.leaders]
    if len(group) < 2:
        return sentences
    sized = [row for row in group if row.trainable_params is not None]
    smallest = min(sized, key=lambda row: row.trainable_params or 0, default=None)
    timed = [row for row in group if row.timing("train_seconds") and not row.timed_in_groups]
    fastest = min(timed, key=_train_seconds, default=None)
    among = f"Of the {len(group)} that cannot be told apart,"
    if smallest is not None and smallest is fastest and smallest is not best:
        return [
            *sentences,
            f"{among} {smallest.label} is the smallest and trained fastest: it {_effort(smallest)}.",
        ]
    if smallest is not None and smallest is not best:
        size = count(smallest.trainable_params) if smallest.trainable_params else "none"
        sentences.append(f"{among} {smallest.label} trains the fewest parameters ({size}).")
        among = "Among them"
    if fastest is not None and fastest is not best:
        sentences.append(
            f"{among} {fastest.label} trained fastest ({short_seconds(_train_seconds(fastest))})."
        )
    return sentences


def _train_seconds(row: StrategySummary) -> float:
    spread = row.timing("train_seconds")
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
        together = ", several seeds together" if row.timed_in_groups else ""
        trained.append(f"took {short_seconds(_train_seconds(row))} to train{together}")
    return listed(trained)


def _seeds(summary: Summary) -> str:
    if not summary.several_seeds:
        return "One seed was run: how much the result changes from seed to seed is not measured."
    return "Interval and tests count both the seeds and the shared test messages."


def _unfinished(summary: Summary) -> str:
    missing = sum(len(row.missing_seeds) for row in summary.rows)
    parts = [f"{len(summary.failed)} {plural('run', len(summary.failed))} failed"] if summary.failed else []
    parts += (
        [f"{missing} {plural('run', missing)} {'is' if missing == 1 else 'are'} still to be done"]
        if missing
        else []
    )
    return f"{' and '.join(parts)}: shown below, counted nowhere." if parts else ""


def _demo_limits(summary: Summary) -> list[str]:
    parts = summary.experiment.demo_parts
    if not parts:
        return []
    what = {"model": "a small random model", "dataset": "a small corpus of its own"}
    return [f"This is a DEMO on {' and '.join(what[part] for part in parts)}: it shows how headtohead works and says "
            "nothing about GPT-2's accuracy."]  # fmt: skip


def demo_banner(summary: Summary) -> str:
    """What the demo replaced and how to supply the real thing; empty where nothing was replaced."""
    what = {
        "model": "GPT-2 is replaced by a small model with random weights (supply the real one with --model 124M or --weights-dir DIR)",
        "dataset": "the SMS Spam Collection is replaced by the embedded demo messages (supply it with --data sms_spam or --data FILE)",
    }
    parts = [what[part] for part in summary.experiment.demo_parts]
    return (
        f"{'; '.join(parts)}. The numbers below say nothing about real GPT-2 or real messages."
        if parts
        else ""
    )


def protocol(summary: Summary) -> list[str]:
    """What was compared and how, one sentence a line."""
    about = summary.experiment.description
    config, seeds = about["train_config"], about["seeds"]
    length = (
        f"{config['epochs']} {plural('epoch', config['epochs'])}"
        if "epochs" in config
        else "The same number of epochs"
    )
    batch = f" in batches of {config['batch_size']}" if "batch_size" in config else ""
    position = POSITIONS.get(config.get("position", ""), config.get("position"))
    return [
        f"{len(summary.rows)} {plural('strategy', len(summary.rows))}, the same pretrained weights, the same messages, "
        "the same protocol: only what is trained differs.",
        *_data_sentences(about["dataset"]),
        _model_sentence(about["model"]),
        f"Training: {length}{batch}, AdamW, cross-entropy"
        + (f" on the logits of {position}." if position else ".")
        + " Learning rates: " + learning_rates(summary) + ".",
        f"{plural('Seed', len(seeds))}: {', '.join(str(seed) for seed in seeds)}.",
        "Train, validation and test accuracy are taken on the full splits after the last epoch; no strategy was chosen "
        "or stopped by its test accuracy.",
    ]  # fmt: skip


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
        half = 50 * (best.interval[1] - best.interval[0])
        sentences.append(
            f"At {percent(best.test_accuracy)} % the {LEVEL_WORDS} interval is {interval_words(best)} %, about ± {half:.1f} points."
        )
    sentences.append(
        "Intervals: Wilson's for one seed; for several seeds Wilson's at an effective sample size that counts the spread "
        "over the seeds and over the shared test messages, never above the number of messages."
    )
    pairs = len(summary.comparisons)
    if pairs:
        sentences.append(
            "Strategies are compared message by message (McNemar's exact test for one seed; for several also a t test over "
            f"seeds and messages, the larger p-value counts), {f'corrected for all {pairs} pairs after Holm' if pairs > 1 else 'a single pair'}: "
            f"“beyond chance” means a p-value below {1 - LEVEL:.2f}. Not distinguishable is not the same as equal."
        )
    if summary.unpaired:
        sentences.append(
            f"Without predictions that agree with data/test.csv, not compared: {', '.join(summary.unpaired)}."
        )
    seen = summary.experiment.description["dataset"].get("test_texts_seen_in_train")
    if seen is not None:
        sentences.append(f"{seen} of the {size} test texts also occur word for word in the training texts.")
    return sentences


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
