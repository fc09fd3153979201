"""What the report's figures show, as data: drawn once by matplotlib (:mod:`.plots`) and once by the page's script.

Nothing here draws. Accuracies are fractions from 0 to 1, durations seconds, sizes bytes, as in the records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from headtohead.experiments.columns import Column, shown_in
from headtohead.experiments.record import load_history, run_directory
from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.wording import LEVEL_WORDS, percent

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["percent", "count", "seconds", "bytes", "number"]
SPLITS = ("train", "validation")
DIGITS = 5  # significant ones, of what is measured, in the page: more than any screen shows


@dataclass(frozen=True)
class Axis:
    """A column that a scatter plot may have on either axis; ``better`` is None where no way is."""

    key: str
    name: str
    kind: Kind
    better: str | None


@dataclass(frozen=True)
class Point:
    """One strategy in the scatter plot: its number and its words for each axis that it has a value on."""

    label: str
    family: str
    values: dict[str, float]
    words: dict[str, str]
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Scatter:
    """Every strategy by any two columns; ``x`` and ``y`` are what the picture in the report shows."""

    axes: tuple[Axis, ...]
    points: tuple[Point, ...]
    x: str = "trainable_params"
    y: str = "test_accuracy"


@dataclass(frozen=True)
class IntervalRow:
    """A strategy's test accuracy with its interval; ``leads``: it is the best or not shown to be below it."""

    label: str
    family: str
    mean: float
    sd: float | None
    low: float
    high: float
    leads: bool
    learned: bool | None

    @property
    def words(self) -> str:
        return percent(self.mean) + (f" ± {percent(self.sd)}" if self.sd is not None else "")


@dataclass(frozen=True)
class Curve:
    """One split's measure over the epochs, a series for each seed: pairs of epoch and value."""

    split: str
    seeds: tuple[tuple[tuple[float, float], ...], ...]

    def over_seeds(self) -> list[tuple[float, float, float, float]]:
        """(epoch, mean, lowest, highest) wherever some seed was measured."""
        found: dict[float, list[float]] = {}
        for series in self.seeds:
            for epoch, value in series:
                found.setdefault(epoch, []).append(value)
        return [(epoch, float(np.mean(each)), min(each), max(each)) for epoch, each in sorted(found.items())]

    @property
    def peak(self) -> float:
        return max((value for series in self.seeds for _, value in series), default=0.0)


@dataclass(frozen=True)
class Panel:
    """One strategy's curves, training and validation."""

    label: str
    curves: tuple[Curve, ...]
    last_epoch: float
    examples_per_epoch: float

    @property
    def peak(self) -> float:
        return max(curve.peak for curve in self.curves if curve.seeds)


@dataclass(frozen=True)
class Curves:
    """A measure while training, one panel per strategy."""

    measure: Literal["loss", "accuracy"]
    panels: tuple[Panel, ...]

    @property
    def top(self) -> float:
        """Where a common scale ends: a curve far above the others leaves the frame."""
        if self.measure == "accuracy":
            return 1.0
        peaks = [panel.peak for panel in self.panels]
        return min(max(peaks), 3 * float(np.median(peaks)))


@dataclass(frozen=True)
class BarRow:
    """One strategy's parts of a cost, in the order of :attr:`Bars.parts`; ``together``: several seeds at once."""

    label: str
    parts: tuple[float, ...]
    together: bool


@dataclass(frozen=True)
class Bars:
    """A cost of every strategy, made of ``parts`` (record field -> name)."""

    kind: Kind
    parts: dict[str, str]
    rows: tuple[BarRow, ...]
    left_out: tuple[str, ...]  # strategies without a finished run


@dataclass(frozen=True)
class Pair:
    """Two strategies in the matrix, by their places among its labels; the row's accuracy less the column's."""

    row: int
    column: int
    difference: float
    p_value: float
    adjusted_p: float


@dataclass(frozen=True)
class Matrix:
    """Every tested pair of strategies, from the most to the least accurate."""

    labels: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def cells(self) -> dict[tuple[int, int], Pair]:
        """(row, column) -> the pair there; what was not tested is missing."""
        return {(pair.row, pair.column): pair for pair in self.pairs}


@dataclass(frozen=True)
class Line:
    """One strategy's values in a :class:`Chart`.

    Attributes:
        x, y: of its points, in the order of x.
        low, high: of a band around the line; none where they are empty.
        bars: what stands below the points, in the unit of y.
        chosen, default: places on the x axis that are marked.
        hollow: numbers of points that are not comparable with the others.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    bars: Sequence[float] = ()
    chosen: float | None = None
    default: float | None = None
    hollow: Sequence[int] = ()


@dataclass(frozen=True)
class Chart:
    """Values along an axis that a section shows: a panel for each strategy (``apart``), or all in one frame.

    Attributes:
        name: of the picture's file, without its ending.
        x, y: what the axes are, with their units.
        log: the x axis is logarithmic.
        bars: what the lines' bars are, in the unit of y.
        diagonal: x and y are shares of the same kind, in percent, and equal on the line that is drawn.
    """

    name: str
    heading: str
    caption: str
    x: str
    y: str
    lines: tuple[Line, ...]
    log: bool = False
    apart: bool = False
    bars: str = ""
    diagonal: bool = False

    @property
    def x_title(self) -> str:
        return f"{self.x} (log scale)" if self.log else self.x


@dataclass(frozen=True)
class Figures:
    """Every figure that the experiment has data for; None for the others."""

    scatter: Scatter | None
    intervals: tuple[IntervalRow, ...]
    loss: Curves | None
    accuracy: Curves | None
    time: Bars | None
    memory: Bars | None
    matrix: Matrix | None


def figures_of(summary: Summary) -> Figures:
    """All figures of a comparison, from its numbers and its runs' history.csv."""
    histories = _histories(summary)
    time = {"train_seconds": "training", "prefix_seconds": "frozen prefix", "eval_seconds": "evaluation"}
    return Figures(
        scatter=_scatter(summary),
        intervals=tuple(_interval_row(summary, row) for row in summary.finished),
        loss=_curves(histories, "loss"),
        accuracy=_curves(histories, "accuracy"),
        time=_bars(summary, "seconds", time),
        memory=_bars(summary, "bytes", {"peak_memory_bytes": "peak memory"}),
        matrix=_matrix(summary),
    )


# --- the table's numbers ----------------------------------------------------------------------------------------


def kind_of(column: Column) -> Kind:
    """What the numbers of a column are, for the ticks of an axis."""
    if column.unit == "%":
        return "percent"
    ends: dict[str, Kind] = {"_seconds": "seconds", "_bytes": "bytes", "_params": "count"}
    return next((kind for end, kind in ends.items() if column.key.endswith(end)), "number")


def _scatter(summary: Summary) -> Scatter | None:
    columns = [*shown_in("report.html", summary), *shown_in("chooser", summary)]
    points = tuple(_point(summary, row, columns) for row in summary.finished)
    axes = tuple(
        Axis(column.key, column.heading, kind_of(column), column.better)
        for column in columns
        if any(column.key in point.values for point in points)
    )
    known = {axis.key for axis in axes}
    return Scatter(axes, points) if {Scatter.x, Scatter.y} <= known else None


def _point(summary: Summary, row: StrategySummary, columns: Sequence[Column]) -> Point:
    cells = {column.key: column.cell(summary, row, "report.html") for column in columns}
    return Point(
        label=row.label,
        family=row.family,
        values={key: float(cell.number) for key, cell in cells.items() if cell.number is not None},
        words={key: cell.words for key, cell in cells.items() if cell.number is not None},
        interval=row.interval,
    )


def _interval_row(summary: Summary, row: StrategySummary) -> IntervalRow:
    spread = row.spread("test_accuracy")
    assert spread is not None and row.interval is not None, "a finished strategy has both"
    low, high = row.interval
    leads = row.label in summary.leaders
    return IntervalRow(row.label, row.family, spread.mean, spread.sd, low, high, leads, row.learned)


def _matrix(summary: Summary) -> Matrix | None:
    ranked = sorted(summary.finished, key=lambda row: -(row.test_accuracy or 0))
    tested = {label for each in summary.comparisons for label in (each.first, each.second)}
    labels = tuple(row.label for row in ranked if row.label in tested)
    if not labels:
        return None
    place = {label: number for number, label in enumerate(labels)}
    pairs = []
    for each in summary.comparisons:
        one, other = place[each.first], place[each.second]
        pairs.append(Pair(one, other, each.difference, each.p_value, each.adjusted_p))
        pairs.append(Pair(other, one, -each.difference, each.p_value, each.adjusted_p))
    return Matrix(labels, tuple(pairs))


# --- curves -----------------------------------------------------------------------------------------------------

Histories = dict[str, "list[pd.DataFrame]"]


def _histories(summary: Summary) -> Histories:
    """The histories of every strategy's finished runs, by label."""
    directory = summary.experiment.directory
    return {
        row.label: [
            table
            for run in row.runs
            if (table := load_history(run_directory(directory, run.run_id))) is not None
        ]
        for row in summary.rows
    }


def _curves(histories: Histories, measure: Literal["loss", "accuracy"]) -> Curves | None:
    """The panels of those that measured ``measure`` at least once."""
    panels = []
    for label, every in histories.items():
        tables = [table for table in every if table[f"validation_{measure}"].notna().any()]
        if tables:
            panels.append(_panel(label, tables, measure))
    return Curves(measure, tuple(panels)) if panels else None


def _panel(label: str, tables: "list[pd.DataFrame]", measure: str) -> Panel:
    last = tables[0].iloc[-1]
    return Panel(
        label,
        tuple(
            Curve(split, tuple(_series(table, f"{split}_{measure}") for table in tables)) for split in SPLITS
        ),
        max(float(table["epoch"].max()) for table in tables),
        float(last["examples_seen"]) / float(last["epoch"]),
    )


def _series(table: "pd.DataFrame", name: str) -> tuple[tuple[float, float], ...]:
    known = table[["epoch", name]].dropna()
    pairs = ((float(epoch), float(value)) for epoch, value in known.itertuples(index=False))
    return tuple((epoch, value) for epoch, value in pairs if np.isfinite(value))  # a loss may have overflowed


# --- costs ------------------------------------------------------------------------------------------------------


def _bars(summary: Summary, kind: Kind, parts: dict[str, str]) -> Bars | None:
    first = next(iter(parts))
    known = [row for row in summary.finished if row.timing(first)]
    rows = sorted(known, key=lambda row: summary.families.index(row.family))
    if not rows:
        return None
    left_out = [row.label for row in summary.rows if row not in rows and (row.failed or row.missing_seeds)]
    bars = []
    for row in rows:
        lengths = tuple(spread.mean if (spread := row.timing(part)) else 0.0 for part in parts)
        bars.append(BarRow(row.label, lengths, row.timed_in_groups))
    return Bars(kind, parts, tuple(bars), tuple(left_out))


# --- for the page -----------------------------------------------------------------------------------------------


def for_page(figures: Figures, families: Sequence[str], charts: Sequence[Chart] = ()) -> dict[str, Any]:
    """The figures as plain values for the page's script; curves as their mean and range over the seeds."""
    return {
        "families": list(families),
        "level": LEVEL_WORDS,
        "scatter": figures.scatter and _scatter_values(figures.scatter),
        "intervals": [{**vars(row), "words": row.words} for row in figures.intervals],
        "loss": figures.loss and _curve_values(figures.loss),
        "accuracy": figures.accuracy and _curve_values(figures.accuracy),
        "time": figures.time and _bar_values(figures.time),
        "memory": figures.memory and _bar_values(figures.memory),
        "charts": {chart.name: _chart_values(chart) for chart in charts},
    }


def _scatter_values(scatter: Scatter) -> dict[str, Any]:
    return {
        "x": scatter.x,
        "y": scatter.y,
        "axes": [vars(axis) for axis in scatter.axes],
        "points": [vars(point) for point in scatter.points],
    }


def _curve_values(curves: Curves) -> dict[str, Any]:
    panels = []
    for panel in curves.panels:
        lines = {curve.split: _short(curve.over_seeds()) for curve in panel.curves}
        seeds = max(len(curve.seeds) for curve in panel.curves)
        panels.append({"label": panel.label, "last": panel.last_epoch, "seeds": seeds, "lines": lines})
    return {"measure": curves.measure, "top": curves.top, "panels": panels}


def _short(rows: Sequence[tuple[float, ...]]) -> list[list[float]]:
    return [[float(f"{value:.{DIGITS}g}") for value in row] for row in rows]


def _bar_values(bars: Bars) -> dict[str, Any]:
    return {
        "kind": bars.kind,
        "parts": list(bars.parts.values()),
        "rows": [vars(row) for row in bars.rows],
        "left_out": list(bars.left_out),
    }


def _chart_values(chart: Chart) -> dict[str, Any]:
    return {
        "x": chart.x,
        "x_title": chart.x_title,
        "y": chart.y,
        "log": chart.log,
        "apart": chart.apart,
        "bars": chart.bars,
        "diagonal": chart.diagonal,
        "lines": [_line_values(chart, line) for line in chart.lines],
    }


def _line_values(chart: Chart, line: Line) -> dict[str, Any]:
    """A line's points as [x, y, low, high, bar, hollow], those left out that have no place on the axis."""
    nothing: list[float | None] = [None] * len(line.x)
    columns: list[Sequence[float | None]] = [each or nothing for each in (line.low, line.high, line.bars)]
    hollow = [number in line.hollow for number in range(len(line.x))]
    rows = zip(line.x, line.y, *columns, hollow, strict=True)
    kept = [[_rounded(value) for value in row] for row in rows if row[0] > 0 or not chart.log]
    return {"label": line.label, "rows": kept, "chosen": line.chosen, "default": line.default}


def _rounded(value: float | bool | None) -> float | bool | None:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
