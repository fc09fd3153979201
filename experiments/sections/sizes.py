"""The section on how many labels it takes: accuracy against the number of training messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from headtohead.experiments.charts import draw_chart
from headtohead.experiments.figures import Chart, Line
from headtohead.experiments.inference import LEVEL, Evidence
from headtohead.experiments.record import RunRecord
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Spread, Summary, answers_of
from headtohead.experiments.wording import UNKNOWN, listed, percent, plural

MOST = 8  # pairs that are named


@dataclass(frozen=True)
class Grown:
    """One strategy with its finished runs by the number of training messages, ascending."""

    label: str
    runs: dict[int, tuple[RunRecord, ...]]

    def spread(self, size: int) -> Spread | None:
        return Spread.of([run.test_accuracy for run in self.runs.get(size, ())])


@dataclass(frozen=True)
class Lead:
    """At ``size`` messages ``first`` is shown to be above ``second``."""

    first: str
    second: str
    size: int


def section(summary: Summary) -> Section | None:
    """None where there are no subsets."""
    full = int(summary.experiment.description["dataset"]["rows"]["train"])
    grown = [each for each in _grown(summary, full) if len(each.runs) > 1]
    if not grown:
        return None
    sizes = sorted({size for each in grown for size in each.runs})
    return Section(
        "sizes",
        "How many labels it takes",
        (*_about(summary, sizes, full), *_begins(_leads(summary, grown, sizes), sizes, full)),
        (draw_chart(summary, _chart(grown)),),
        (_table(grown, sizes, full),),
    )


def _grown(summary: Summary, full: int) -> list[Grown]:
    grown = []
    for row in summary.rows:
        runs: dict[int, list[RunRecord]] = {}
        for record in summary.experiment.aside:
            same = (record.strategy, record.hyperparameters) == (row.strategy, row.hyperparameters)
            if record.train_size is not None and record.ok and same:
                runs.setdefault(record.train_size, []).append(record)
        if row.runs:
            runs[full] = list(row.runs)
        grown.append(Grown(row.label, {size: tuple(runs[size]) for size in sorted(runs)}))
    return grown


# --- words -------------------------------------------------------------------------------------------------------


def _about(summary: Summary, sizes: Sequence[int], full: int) -> list[str]:
    config = summary.experiment.description["train_config"]
    steps = [size // config["batch_size"] * config["epochs"] for size in (sizes[0], full)]
    return [
        f"Each strategy was also trained on {listed([str(size) for size in sizes if size < full])} of the {full:,} "
        "training messages, as many of every class; each seed draws its own, and a smaller subset is part of every "
        "larger one. Validation and test messages are the same for all.",
        f"The protocol is the same, so fewer messages are fewer steps: {steps[0]} with {sizes[0]}, {steps[1]:,} with "
        "all.",
    ]


def _leads(summary: Summary, grown: Sequence[Grown], sizes: Sequence[int]) -> list[Lead]:
    """Who is above whom at which size beyond chance, corrected for all pairs and all sizes."""
    if summary.truth is None:
        return []
    truth, leads = np.array(summary.truth), []
    for size in sizes:
        answers = {each.label: answers_of(each.runs.get(size, ()), truth) for each in grown}
        known = {label: found for label, found in answers.items() if found is not None and len(found) > 1}
        if len(known) < 2:
            continue
        labels, evidence = list(known), Evidence.of(list(known.values()))
        first, second = np.array(list(combinations(range(len(labels)), 2))).T
        # The range of all strategies covers the pairs of one size; Bonferroni covers the sizes.
        p_values = evidence.pair_p_values(first, second, len(labels)) * len(sizes)
        for i, j, p_value in zip(first, second, p_values, strict=True):
            if p_value < 1 - LEVEL:
                above, below = (i, j) if evidence.means[i] > evidence.means[j] else (j, i)
                leads.append(Lead(labels[above], labels[below], size))
    return leads


def _begins(leads: Sequence[Lead], sizes: Sequence[int], full: int) -> list[str]:
    """Where one strategy begins to beat another, the smallest size first."""
    begin: dict[tuple[str, str], int] = {}
    for lead in leads:
        begin.setdefault((lead.first, lead.second), lead.size)
    if not begin:
        return [
            "At no size is one strategy shown to be above another: too few seeds or test messages, or no difference."
        ]
    also = {pair for pair in begin if pair[::-1] in begin}
    by_size: dict[int, list[str]] = {}
    for (first, second), size in sorted(begin.items(), key=lambda each: each[1])[:MOST]:
        turned = " (the other way round elsewhere)" if (first, second) in also else ""
        by_size.setdefault(size, []).append(f"{first} above {second}{turned}")
    sentences = []
    for size, pairs in by_size.items():
        start = "Already with" if size == sizes[0] else "From"
        sentences.append(f"{start} {_size(size, full)} messages, beyond chance: {listed(pairs)}.")
    more = len(begin) - MOST
    if more > 0:
        sentences.append(
            f"{more} more {plural('pair', more)} {'is' if more == 1 else 'are'} told apart at larger sizes."
        )
    sentences.append(
        f"These claims hold together at {1 - LEVEL:.2f}: corrected for all pairs (range test) and for {len(sizes)} "
        "sizes. Before its size a pair is not shown to be equal; there are too few data to tell."
    )
    return sentences


# --- picture and table -------------------------------------------------------------------------------------------


def _chart(grown: Sequence[Grown]) -> Chart:
    return Chart(
        "train_sizes", "How many labels it takes",
        "Mean test accuracy over the seeds; bands: one standard deviation to either side.",
        "training messages", "test accuracy (%)", tuple(_line(each) for each in grown), log=True,
    )  # fmt: skip


def _line(each: Grown) -> Line:
    points = [(size, spread) for size in each.runs if (spread := each.spread(size))]
    means = [100 * spread.mean for _, spread in points]
    around = [100 * (spread.sd or 0.0) for _, spread in points]
    return Line(
        each.label,
        [float(size) for size, _ in points],
        means,
        [mean - sd for mean, sd in zip(means, around, strict=True)],
        [mean + sd for mean, sd in zip(means, around, strict=True)],
    )


def _table(grown: Sequence[Grown], sizes: Sequence[int], full: int) -> Table:
    rows = tuple((each.label, *(_cell(each.spread(size)) for size in sizes)) for each in grown)
    headings = ("strategy", *(f"{_size(size, full)} messages" for size in sizes))
    return Table(headings, rows, "Test accuracy in percent, mean ± standard deviation over the seeds.")


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return UNKNOWN
    return percent(spread.mean) if spread.sd is None else f"{percent(spread.mean)} ± {percent(spread.sd)}"


def _size(size: int, full: int) -> str:
    return f"all {size:,}" if size == full else f"{size:,}"
