"""The section on tuning: what was tried and chosen, how much the choice matters, and what it changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headtohead.experiments.charts import draw_chart
from headtohead.experiments.figures import Chart, Line
from headtohead.experiments.folder import TunedVariant, TuningFacts
from headtohead.experiments.inference import LEVEL, Evidence, holm
from headtohead.experiments.record import RunRecord
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import StrategySummary, Summary, answers_of
from headtohead.experiments.tuning import Tried, best, expected_best, on_edge, tried
from headtohead.experiments.wording import UNKNOWN, listed, percent, plural


@dataclass(frozen=True)
class Tuned:
    """One tuned strategy of the report.

    Attributes:
        first, last: what the first and the last round gave; the same where there was one.
        row: of the comparison; None where nothing ran.
        untuned: its finished runs at the defaults.
    """

    about: TunedVariant
    first: list[Tried]
    last: list[Tried]
    chosen: Tried | None
    row: StrategySummary | None
    untuned: tuple[RunRecord, ...]

    @property
    def label(self) -> str:
        return self.about["label"]

    @property
    def default(self) -> Tried | None:
        """The defaults, trained as long as what was chosen."""
        return next((each for each in self.last if each.label == self.about["default"]), None)

    def values(self, one: dict[str, Any] | None) -> str:
        """The searched fields of some hyperparameters, in words."""
        if one is None:
            return UNKNOWN
        return ", ".join(f"{name} = {_short(one.get(name))}" for name in self.about["fields"])


def section(summary: Summary) -> Section | None:
    """None where nothing was tuned."""
    facts: TuningFacts | None = summary.experiment.description.get("tuning")
    if not facts:
        return None
    all_tuned = [_tuned(summary, about) for about in facts["variants"] if about["tried"]]
    known = [each for each in all_tuned if each.first]
    if not known:
        return None
    return Section(
        "tuning",
        "Tuning",
        (*_budget(facts, known), *_edges(known), *_failed(known), *_changes(summary, known)),
        tuple(draw_chart(summary, chart) for chart in _charts(known)),
        (_table(known),),
    )


def _tuned(summary: Summary, about: TunedVariant) -> Tuned:
    trials = [each for each in tried(summary.experiment.aside) if each.of == about["label"]]
    longest = max((each.epochs for each in trials), default=0)
    chosen = best(trials)
    return Tuned(
        about,
        [each for each in trials if each.epochs == about["first_epochs"]],
        [each for each in trials if each.epochs == longest],
        chosen,
        _row(summary, about, chosen.hyperparameters if chosen else about["hyperparameters"]),
        _untuned(summary, about),
    )


def _row(summary: Summary, about: TunedVariant, settings: dict[str, Any]) -> StrategySummary | None:
    """The comparison's row with these settings, whatever its label: a later command may run the defaults under it."""
    same = [
        row for row in summary.rows if (row.strategy, row.hyperparameters) == (about["strategy"], settings)
    ]
    return next(iter(sorted(same, key=lambda row: row.label != about["label"])), None)


def _untuned(summary: Summary, about: TunedVariant) -> tuple[RunRecord, ...]:
    """The finished runs at the defaults: beside the comparison, or a row of it."""
    settings = about["strategy"], about["hyperparameters"]
    found = tuple(
        record
        for record in summary.experiment.aside
        if record.role == "run" and record.ok and not record.is_partial
        and (record.strategy, record.hyperparameters) == settings
    )  # fmt: skip
    row = _row(summary, about, about["hyperparameters"])
    return found or (row.runs if row else ())


# --- sentences ---------------------------------------------------------------------------------------------------


def _budget(facts: TuningFacts, known: Sequence[Tuned]) -> list[str]:
    counts = sorted({len(each.first) for each in known})
    seeds = f"{plural('seed', len(facts['seeds']))} {listed([str(seed) for seed in facts['seeds']])}"
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    sentences = [
        f"{listed([each.label for each in known], 6)}: {number} settings each were tried under {seeds}, and the one "
        "with the highest mean validation accuracy was chosen, on a tie the one with the lowest validation loss. No "
        "trial met a test message, and no test counts one.",
    ]
    if len(counts) > 1:
        sentences.append("The budgets are not equal, so a strategy with more trials had the better chance.")
    short = {each.about["first_epochs"] for each in known} - {facts["epochs"]}
    if short:
        sentences.append(
            f"All were trained for {min(short)} of {facts['epochs']} epochs first, then the best of them and the "
            "defaults to the end: a setting that is slow at first may have been missed (--tune-full trains all to the "
            "end)."
        )
    return sentences


def _edges(known: Sequence[Tuned]) -> list[str]:
    sentences = []
    for each in known:
        for name in each.about["fields"]:
            values = [
                value for one in each.first if isinstance(value := one.hyperparameters.get(name), float)
            ]
            end = each.chosen and on_edge(values, each.chosen.hyperparameters[name])
            if end and each.chosen:
                value = _short(each.chosen.hyperparameters[name])
                sentences.append(
                    f"⚠ {each.label}: the chosen {name}, {value}, is the {end} that was tried; what lies beyond may be "
                    f"better (--sweep {each.about['strategy']}.{name}=...)."
                )
    return sentences


def _failed(known: Sequence[Tuned]) -> list[str]:
    failed = [(each.label, sum(one.accuracy is None for one in [*each.first, *each.last])) for each in known]
    parts = [f"{label} {count}" for label, count in failed if count]
    nothing = [each.label for each in known if each.chosen is None]
    return [
        *([f"Trials that failed, most often at a rate that is too high: {listed(parts)}."] if parts else []),
        *([f"⚠ {listed(nothing)}: no trial was finished, so the defaults were kept."] if nothing else []),
    ]


def _changes(summary: Summary, known: Sequence[Tuned]) -> list[str]:
    """Which strategies tuning is shown to have changed, where they were run at their defaults, too."""
    pairs = [(each, pair) for each in known if (pair := _pair(summary, each)) is not None]
    if not pairs:
        return ["The defaults were not run on the test messages: --untuned runs them beside the comparison."]
    p_values = holm([p_value for _, (_, p_value) in pairs])
    changed = [
        (each.label, difference)
        for (each, (difference, _)), p_value in zip(pairs, p_values, strict=True)
        if p_value < 1 - LEVEL
    ]
    labels = {label for label, _ in changed}
    same = [each.label for each, _ in pairs if each.label not in labels]
    words = [f"{label} by {100 * difference:+.1f} points" for label, difference in changed]
    return [
        *([f"Tuning changed test accuracy beyond chance: {listed(words)}."] if words else []),
        *([f"Too few data to tell tuned from untuned: {listed(same, 6)}."] if same else []),
    ]


def _pair(summary: Summary, each: Tuned) -> tuple[float, float] | None:
    """The test accuracy that tuning added, and its p-value; None where they are one or cannot be tested."""
    if summary.truth is None or each.row is None or not each.untuned:
        return None
    truth = np.array(summary.truth)
    answers = [answers_of(runs, truth) for runs in (each.row.runs, each.untuned)]
    if any(one is None or len(one) < 2 for one in answers):
        return None
    evidence = Evidence.of([one for one in answers if one is not None])
    p_value = evidence.pair_p_values(np.array([0]), np.array([1]), 2)[0]
    return float(evidence.means[0] - evidence.means[1]), float(p_value)


# --- table and pictures ------------------------------------------------------------------------------------------


def _table(known: Sequence[Tuned]) -> Table:
    rows = []
    for each in known:
        values: list[Any] = [one.hyperparameters.get(each.about["fields"][0]) for one in each.first]
        numbers = all(isinstance(value, int | float) for value in values)
        span = (
            f"{_short(min(values))} to {_short(max(values))}"
            if numbers
            else listed([_short(v) for v in values])
        )
        default, chosen = each.default, each.chosen
        untuned = [record.test_accuracy for record in each.untuned if record.test_accuracy is not None]
        rows.append((
            each.label, each.values(each.about["hyperparameters"]),
            each.values(chosen.hyperparameters if chosen else None),
            span, str(len(each.first)), percent(default.accuracy if default else None),
            percent(chosen.accuracy if chosen else None), percent(float(np.mean(untuned)) if untuned else None),
            percent(each.row.test_accuracy if each.row else None),
        ))  # fmt: skip
    return Table(
        ("strategy", "default", "chosen", "tried", "trials", "valid. acc. % untuned", "valid. acc. % tuned",
         "test acc. % untuned", "test acc. % tuned"),
        tuple(rows),
        "Untuned and tuned side by side: validation accuracy under the tune seeds, test accuracy over the seeds of the "
        "comparison. The highest of several validation accuracies flatters; the test accuracy does not.",
        words=4,
    )  # fmt: skip


def _charts(known: Sequence[Tuned]) -> list[Chart]:
    lines = tuple(line for each in known if (line := _sensitivity(each)))
    several = [each for each in known if len(each.first) > 1]
    charts = []
    if lines:
        charts.append(Chart(
            "sensitivity", "How much the setting matters",
            "Mean validation accuracy of every trial. Hollow: after the first round's epochs only. Dotted line: the "
            "default; large: what was chosen.", _searched(known), "validation accuracy (%)", lines, log=True, apart=True,
        ))  # fmt: skip
    if several:
        lengths = sorted({each.about["first_epochs"] for each in several})
        charts.append(Chart(
            "expected_best", "What a budget buys",
            "Expected highest validation accuracy of n of the trials, after "
            f"{listed([str(each) for each in lengths])} {plural('epoch', max(lengths))}; the unbiased estimator of "
            "Tang et al. (2020). A trial that failed counts as the worst of the others.",
            "trials", "expected best (%)", tuple(_expected(each) for each in several),
        ))  # fmt: skip
    return charts


def _searched(known: Sequence[Tuned]) -> str:
    """What the panels' x axes are: the first searched field of each."""
    names = list(dict.fromkeys(each.about["fields"][0].replace("_", " ") for each in known))
    return " or ".join(names)


def _sensitivity(each: Tuned) -> Line | None:
    """Accuracy against the first searched field, each setting as long as it was trained."""
    name = each.about["fields"][0]
    longest = {one.label: one for one in [*each.first, *each.last]}
    points = sorted(
        (
            (one.hyperparameters[name], one)
            for one in longest.values()
            if one.accuracy is not None and isinstance(one.hyperparameters[name], int | float)
        ),
        key=lambda point: float(point[0]),
    )
    if len(points) < 2:
        return None
    last = max(one.epochs for one in longest.values())
    return Line(
        each.label,
        [float(x) for x, _ in points],
        [100 * (one.accuracy or 0) for _, one in points],
        chosen=float(each.chosen.hyperparameters[name]) if each.chosen else None,
        default=float(each.about["hyperparameters"][name]),
        hollow=[number for number, (_, one) in enumerate(points) if one.epochs < last],
    )


def _expected(each: Tuned) -> Line:
    known = [one.accuracy for one in each.first if one.accuracy is not None] or [0.0]
    values = expected_best([min(known) if one.accuracy is None else one.accuracy for one in each.first])
    return Line(each.label, list(range(1, len(values) + 1)), [100 * value for value in values])


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
