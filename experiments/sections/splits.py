"""The section on other splits: whether the comparison holds where other messages are trained and tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from headtohead.core.other_splits import SHORT_TO_LONG
from headtohead.experiments.inference import LEVEL, Array, Evidence
from headtohead.experiments.record import RunRecord
from headtohead.experiments.resampling import Splits, chance_above
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import StrategySummary, Summary, answers_of
from headtohead.experiments.wording import LEVEL_WORDS, UNKNOWN, listed, percent, plural

OWN = "as it comes"  # the data set's own split
FEW = 5  # splits below which a difference has to be very large to be seen
MOST = 6  # pairs that are named


@dataclass(frozen=True)
class Found:
    """The answers of the strategies that have runs with the same seeds on every split.

    Attributes:
        labels: of K strategies.
        seeds: that they share on all of the splits.
        splits: names of P splits.
        correct: per strategy and split which messages were right (S,N).
        left_out: labels for which some run is missing.
    """

    labels: tuple[str, ...]
    seeds: tuple[int, ...]
    splits: tuple[str, ...]
    correct: tuple[tuple[Array, ...], ...]
    left_out: tuple[str, ...]


def section(summary: Summary) -> Section | None:
    """None where there is one split only."""
    names = sorted({run.split for run in summary.experiment.aside if run.split is not None}, key=_order)
    random = [OWN, *(name for name in names if name != SHORT_TO_LONG)]
    found = _found(summary, random) if len(random) > 1 else None
    shifted = _found(summary, [SHORT_TO_LONG]) if SHORT_TO_LONG in names else None
    if not (found and found.labels) and not (shifted and shifted.labels):
        return None
    sentences, tables = [], []
    if found and found.labels:
        overlap = _rows(summary, "test") / _rows(summary, "train")
        evidence = Splits.of(found.correct, overlap)
        sentences += [_varied(summary, found), *_claims(found, evidence), _method(found)]
        tables.append(_table(found, evidence))
    if shifted and shifted.labels:
        sentences += _shift(summary, shifted)
        tables.append(_shift_table(summary, shifted))
    return Section("splits", "On other splits of the messages", tuple(sentences), (), tuple(tables))


def _order(name: str) -> tuple[bool, int, str]:
    return name == SHORT_TO_LONG, len(name), name


def _rows(summary: Summary, split: str) -> int:
    return int(summary.experiment.description["dataset"]["rows"][split])


def _found(summary: Summary, splits: Sequence[str]) -> Found:
    """What is there of all strategies on all of these splits."""
    truth = {name: summary.classes("test" if name == OWN else f"{name}/test") for name in splits}
    runs = {row.label: [_runs(summary, row, name) for name in splits] for row in summary.rows if row.runs}
    seeds = [sorted(set.intersection(*(set(each) for each in own))) for own in runs.values()]
    shared = [each for each in seeds if each]
    common = sorted(set.intersection(*map(set, shared))) if shared else []
    labels, correct = [], []
    for label, own in runs.items():
        if not common or any(set(common) - set(each) for each in own):
            continue
        answers = [
            answers_of([each[seed] for seed in common], truth[name])
            for name, each in zip(splits, own, strict=True)
        ]
        if all(each is not None for each in answers):
            labels.append(label)
            correct.append(tuple(each for each in answers if each is not None))
    left_out = tuple(label for label in runs if label not in labels)
    return Found(tuple(labels), tuple(common), tuple(splits), tuple(correct), left_out)


def _runs(summary: Summary, row: StrategySummary, split: str) -> dict[int, RunRecord]:
    """A strategy's finished runs on a split, by seed."""
    if split == OWN:
        return {run.seed: run for run in row.runs}
    return {
        run.seed: run
        for run in summary.experiment.aside
        if run.split == split
        and run.ok
        and (run.strategy, run.hyperparameters) == (row.strategy, row.hyperparameters)
    }


# --- random splits -----------------------------------------------------------------------------------------------


def _varied(summary: Summary, found: Found) -> str:
    total = sum(_rows(summary, split) for split in ("train", "validation", "test"))
    left = f" Left out, for want of runs: {listed(found.left_out, 6)}." if found.left_out else ""
    return (
        f"Varied: which of the {total:,} messages are trained, validated and tested on ({len(found.splits)} splits of the "
        f"same sizes; the first is the one of the comparison above, the others are random), and the seed "
        f"({len(found.seeds)}: first weights of what is new, and order of the batches). Not varied: the pretrained weights, "
        f"the messages as a whole, and the hyperparameters.{left}"
    )


def _claims(found: Found, evidence: Splits) -> list[str]:
    """Who is above whom over the splits, never more than the test allows."""
    if len(found.labels) < 2:
        return []
    among = len(found.labels)
    pairs = []
    for i, j in combinations(range(among), 2):
        p_value = evidence.p_value(i, j, among)
        if p_value < 1 - LEVEL:
            above, below = (i, j) if evidence.over_all[i] > evidence.over_all[j] else (j, i)
            pairs.append((p_value, f"{found.labels[above]} above {found.labels[below]}"))
    words = [pair for _, pair in sorted(pairs)[:MOST]]
    more = f" and {len(pairs) - MOST} more pairs" if len(pairs) > MOST else ""
    claim = (
        f"Beyond chance over the splits: {listed(words)}{more}."
        if words
        else "No pair differs beyond chance."
    )
    few = len(found.splits) < FEW
    note = (
        f" With {len(found.splits)} splits only very large differences can be seen; --splits {FEW} sees more."
    )
    return [claim + (note if few else "")]


def _method(found: Found) -> str:
    return (
        "Interval and test count splits, seeds and messages: the spread of the splits' means holds all three, and Nadeau "
        "and Bengio's correction allows for the messages that the splits share; all pairs hold together (range test with "
        f"{len(found.splits) - 1} degrees of freedom). P(best > it) is how often a run of the best is above that of the "
        "strategy with the same split and seed; 50 % is no difference, and 75 % is often asked for before one counts. "
        "Random splits flatter: their test messages are like their training messages."
    )


def _table(found: Found, evidence: Splits) -> Table:
    best = int(np.argmax(evidence.over_all))
    accuracies = [[each.mean(axis=1) for each in own] for own in found.correct]
    rows = []
    for place, label in enumerate(found.labels):
        low, high = evidence.interval(place)
        means = evidence.means[place]
        if place == best:
            chance, p_value = UNKNOWN, UNKNOWN
        else:
            share, least, most = chance_above(accuracies[best], accuracies[place])
            chance = f"{100 * share:.0f} % ({100 * least:.0f} to {100 * most:.0f})"
            p_value = f"{evidence.p_value(best, place, len(found.labels)):.2g}"
        spread = f"{percent(float(means.mean()))} ± {percent(float(means.std(ddof=1)))}"
        rows.append((label, spread, f"{percent(low)} to {percent(high)}", chance, p_value))
    headings = (
        "strategy",
        "test acc. % (± over splits)",
        f"{LEVEL_WORDS} interval",
        "P(best > it)",
        "adjusted p",
    )
    return Table(headings, tuple(rows), f"Over {len(found.splits)} splits and {len(found.seeds)} "
                 f"{plural('seed', len(found.seeds))}; the best is {found.labels[best]}.")  # fmt: skip


# --- from short messages to long ones ----------------------------------------------------------------------------


def _shift(summary: Summary, shifted: Found) -> list[str]:
    """Whether the order holds on messages that are longer than those trained on."""
    answers = [own[0] for own in shifted.correct]
    evidence = Evidence.of(answers)
    best = int(np.argmax(evidence.means))
    sentences = [
        "Short to long: trained and validated on the shorter messages of every class, tested on its longest. "
        f"{shifted.labels[best]} is the highest there, {percent(float(evidence.means[best]))} %."
    ]
    if len(answers) > 1 and len(shifted.seeds) > 1:
        p_values = evidence.below_best(best)
        below = [label for label, p in zip(shifted.labels, p_values, strict=True) if p < 1 - LEVEL]
        if below:
            sentences.append(f"Below it beyond chance, over its messages and seeds: {listed(below, 6)}.")
        else:
            sentences.append("No other is shown to be below it there.")
    return sentences


def _shift_table(summary: Summary, shifted: Found) -> Table:
    usual = {row.label: row.test_accuracy for row in summary.rows}
    rows = []
    for label, own in zip(shifted.labels, shifted.correct, strict=True):
        there, here = float(own[0].mean()), usual[label]
        change = UNKNOWN if here is None else f"{100 * (there - here):+.1f}"
        rows.append((label, percent(here), percent(there), change))
    headings = ("strategy", "test acc. %", "short to long %", "change in points")
    return Table(headings, tuple(rows), "From short messages to long ones, means over the seeds.")
