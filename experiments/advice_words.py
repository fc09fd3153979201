"""The advisor's recommendation in words: what to take, why, and how sure it is."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from headtohead.experiments.advisor import (
    Advice,
    Excluded,
    advise,
    at_size,
    latency_seconds,
    rank,
    train_seconds,
    train_sizes,
)
from headtohead.experiments.record import RunRecord
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.wording import count, listed, percent, short_bytes, short_seconds

MUCH = 1.5  # times as much: what is nearer is not called smaller or faster
NAMES = 6
WHAT = {
    "max_size": "size on disk",
    "max_train_time": "training time",
    "max_latency": "latency",
    "max_memory": "peak memory",
}
MEASURE = {
    "max_train_time": "timed alone (--one-at-a-time, or --isolate)",
    "max_memory": "run alone (--one-at-a-time, or --isolate)",
}


def _decimal_bytes(value: float) -> str:
    """A limit as it was given: 1000000 -> "1 MB"."""
    for size, letter in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if value >= size:
            return f"{value / size:.6g} {letter}"
    return f"{value:g} B"


def _short_time(seconds: float) -> str:
    """0.02 -> "20 ms"; from a second as elsewhere."""
    return f"{1000 * seconds:.3g} ms" if seconds < 1 else short_seconds(seconds)


# What is compared where nothing is limited: a name, what a run has of it, how it is written, how a ratio is said.
Cost = tuple[str, Callable[[RunRecord], float | None], Callable[[float], str], str]
COSTS: tuple[Cost, ...] = (
    ("smallest file", lambda run: run.classifier_bytes, short_bytes, "{} is {} times smaller on disk"),
    ("fastest training", train_seconds, short_seconds, "{} trains {} times faster"),
    ("lowest latency", latency_seconds, _short_time, "{} answers {} times faster"),
)


def advice(summary: Summary) -> list[str]:
    """Sentences of one paragraph that opens the report; empty where there is nothing to choose from."""
    found = advise(summary)
    asked = summary.experiment.asked
    if found is None or (len(summary.finished) < 2 and not _limits(asked)):
        return []
    if found.first is None:
        return [_nothing_keeps(asked), *_excluded(found)]
    sentences = [_lead(found, asked), *_labels(found, asked), *_why(found)]
    sentences += [*_certainty(found), *_cheaper(found)]
    if _limits(asked):
        return [*sentences, *_excluded(found)]
    return [*sentences, *_for_each_cost(found), *_fewest_labels(summary), *_excluded(found)]


def _limits(asked: ReportSettings) -> list[str]:
    """The limits that were given, in words."""
    written = {
        "max_size": _decimal_bytes,
        "max_train_time": short_seconds,
        "max_latency": _short_time,
        "max_memory": _decimal_bytes,
    }
    words = [
        f"{WHAT[name]} at most {how(value)}"
        for name, how in written.items()
        if (value := getattr(asked, name)) is not None
    ]
    return words + ([f"at most {count(asked.labels)} labels"] if asked.labels else [])


def _lead(found: Advice, asked: ReportSettings) -> str:
    choice = found.choice
    assert choice is not None
    names = listed([choice.label, *(row.label for row in found.open_against(choice))], NAMES).replace(
        " and ", " or "
    )
    if asked.labels is not None and found.messages > asked.labels:  # what is said is not of so few labels
        asked = replace(asked, labels=None)
    limits = _limits(asked)
    return f"Under your limits ({', '.join(limits)}): {names}." if limits else f"Recommended: {names}."


def _why(found: Advice) -> list[str]:
    """Why the first is first, and where the test messages say otherwise."""
    first, choice = found.ranked[0], found.choice
    assert choice is not None
    accuracy = first.spread("validation_accuracy")
    level = f" ({percent(accuracy.mean)} %)" if accuracy else ""
    among = (
        "is the only candidate"
        if len(found.ranked) == 1
        else f"has the highest validation accuracy{level} of {len(found.ranked)} candidates"
    )
    sentences = [f"{first.label} {among}."]
    if choice is not first:
        sentences.append(
            f"On the test messages {choice.label} is more accurate than it beyond chance, so {choice.label} is named."
        )
    return sentences


def _certainty(found: Advice) -> list[str]:
    """How sure: what the tests say of the choice against the other candidates."""
    choice = found.choice
    assert choice is not None
    others = [row for row in found.ranked if row is not choice]
    if not others:
        return []
    untested = [row.label for row in others if not found.tested(row, choice)]
    alike = [row.label for row in found.open_against(choice) if row.label not in untested]
    below = [row.label for row in others if found.differs(row, choice) < 0]
    sentences = []
    if alike:
        sentences.append(
            f"{choice.label} and {'each of ' if len(alike) > 1 else ''}{listed(alike, NAMES)} are not distinguishable "
            f"on {found.summary.test_size} test messages: which is better is not known."
        )
    if below:
        are = "is" if len(below) == 1 else "are"
        sentences.append(f"{listed(below, NAMES)} {are} less accurate than {choice.label} beyond chance.")
    if untested:
        sentences.append(
            f"Not tested against {listed(untested, NAMES)}, for want of seeds or predictions: the order may be chance."
        )
    return [*sentences, *_baselines(found, choice)]


def _baselines(found: Advice, choice: StrategySummary) -> list[str]:
    """Which of those that train no GPT the choice is not shown to beat."""
    rows = [row for row in found.summary.finished if row.is_baseline]
    near = [row.label for row in rows if found.differs(row, choice) >= 0]
    if not near:
        return []
    which = "which trains" if len(near) == 1 else "which train"
    return [f"It is not shown to be more accurate than {listed(near, NAMES)}, {which} no GPT."]


def _cheaper(found: Advice) -> list[str]:
    """What speaks for the others that are not distinguishable from the choice: clear differences of cost."""
    choice = found.choice
    assert choice is not None
    sentences = []
    for _, of, _, words in COSTS:
        own, rows = _range(choice, of), found.open_against(choice)
        known = [(bounds[1], row) for row in rows if (bounds := _range(row, of)) is not None]
        if own is None or not known:
            continue
        least, cheapest = min(known, key=lambda each: each[0])
        if least > 0 and own[0] / least >= MUCH:  # its least against the other's most: their ranges are apart
            times = f"{own[0] / least:.0f}" if own[0] / least >= 10 else f"{own[0] / least:.1f}"
            sentences.append(f"{words.format(cheapest.label, times)} than {choice.label}.")
    return sentences


def _range(row: StrategySummary, of: Callable[[RunRecord], float | None]) -> tuple[float, float] | None:
    """The smallest and the largest value over the runs; None where it is not known of each."""
    values = [of(run) for run in row.runs]
    known = [value for value in values if value is not None]
    return (min(known), max(known)) if known and len(known) == len(values) else None


def _for_each_cost(found: Advice) -> list[str]:
    """Without limits: the choice for each of the common ones, among those not shown to be below the choice."""
    choice = found.choice
    assert choice is not None
    near = [choice, *found.open_against(choice)]
    parts = []
    for name, of, written, _ in COSTS:
        cheapest = _cheapest(near, of)
        if cheapest is None or any(_range(row, of) is None for row in near):
            parts.append(f"{name}: not known of all")
            continue
        value, row = cheapest
        part = f"{name}: {row.label} ({written(value)})"
        below = _cheapest([each for each in found.ranked if each not in near], of)
        if below is not None and below[0] * MUCH <= value:
            part += f"; {below[1].label} has {written(below[0])}, but is less accurate beyond chance"
        parts.append(part)
    best = f"best accuracy: {choice.label}"
    return [f"If one thing matters most: {'; '.join([*parts, best])}."]


def _cheapest(
    rows: Sequence[StrategySummary], of: Callable[[RunRecord], float | None]
) -> tuple[float, StrategySummary] | None:
    known = [(bounds[1], row) for row in rows if (bounds := _range(row, of)) is not None]
    return min(known, key=lambda each: each[0]) if known else None


def _fewest_labels(summary: Summary) -> list[str]:
    """With the fewest training messages that were tried: who is first on validation."""
    sizes = train_sizes(summary)
    if not sizes:
        return []
    ranked = rank([row for row in at_size(summary, sizes[0]).finished if not row.is_baseline])
    if not ranked:
        return []
    accuracy = ranked[0].spread("validation_accuracy")
    level = f" ({percent(accuracy.mean)} %)" if accuracy else ""
    return [f"With the fewest labels tried ({sizes[0]}), {ranked[0].label} is first on validation{level}."]


def _labels(found: Advice, asked: ReportSettings) -> list[str]:
    """Which runs answer for the number of labels."""
    if asked.labels is None:
        return []
    if found.messages > asked.labels:
        return [
            f"All runs had {count(found.messages)} training messages: with {count(asked.labels)} labels the order may "
            f"be another; --train-sizes {asked.labels} measures it."
        ]
    if found.messages < asked.labels:
        return [f"The runs that count had {count(found.messages)} training messages."]
    return []


def _nothing_keeps(asked: ReportSettings) -> str:
    limits = _limits(asked)
    return (
        f"No strategy is shown to keep your limits ({', '.join(limits)})."
        if limits
        else "No strategy can be recommended."
    )


def _excluded(found: Advice) -> list[str]:
    """Who is left out, and why."""
    sentences = []
    for name, what in WHAT.items():
        over = [each.label for each in found.excluded if name in each.breaks]
        unknown = [each.label for each in found.excluded if name in each.unknown]
        if over:
            sentences.append(f"Over the limit of {what}: {listed(over, NAMES)}.")
        if unknown:
            how = f"; it is known of runs {MEASURE[name]}" if name in MEASURE else ""
            sentences.append(f"Left out because their {what} is not known: {listed(unknown, NAMES)}{how}.")
    return [*sentences, *_learned_nothing(found.excluded)]


def _learned_nothing(excluded: Sequence[Excluded]) -> list[str]:
    labels = [each.label for each in excluded if each.not_learned]
    return [f"Left out because some run did not learn: {listed(labels, NAMES)}."] if labels else []
