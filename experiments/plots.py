"""The report's plots, drawn from a summary: readable at 400 px wide, colour-blind safe, nothing over the data."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from textwrap import wrap
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Annotation
from matplotlib.ticker import MaxNLocator, MultipleLocator
from matplotlib.transforms import Bbox, blended_transform_factory
from PIL import Image

from headtohead.core.errors import InputError, shown
from headtohead.experiments.figures import (
    Bars,
    Chart,
    Curve,
    Curves,
    IntervalRow,
    Panel,
    Point,
    Scatter,
    figures_of,
)
from headtohead.experiments.statistics import Summary
from headtohead.experiments.tables import continued
from headtohead.experiments.wording import LEVEL_WORDS, NOT_LEARNED, short_bytes, short_count, short_seconds

WIDTH = 5.6  # inches; at DPI pixels each this is twice the width at which the report shows a plot
DPI = 200
INK, SOFT, FAINT = "#1f2328", "#656d76", "#d0d7de"
# Okabe and Ito's colours, which stay apart for every common kind of colour blindness; yellow is too pale on white.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, GREY = "#E69F00", "#56B4E9", "#7a7a7a"
FAMILY_LOOKS = (
    (BLUE, "o"),
    (ORANGE, "s"),
    (GREEN, "^"),
    (PURPLE, "D"),
    (VERMILLION, "v"),
    (SKY, "P"),
    (GREY, "X"),
)
STYLE: Any = {
    "font.size": 10.5, "axes.titlesize": 11.5, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.right": False, "axes.spines.top": False, "axes.edgecolor": SOFT, "axes.labelcolor": INK,
    "text.color": INK, "xtick.color": SOFT, "ytick.color": SOFT, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.grid": True, "grid.color": FAINT, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "figure.facecolor": "white", "font.family": "DejaVu Sans", "text.parse_math": False,
}  # fmt: skip
PLOT_FILES = (
    "accuracy_vs_parameters.png", "test_accuracy.png", "loss.png", "accuracy.png", "train_time.png", "peak_memory.png",
)  # fmt: skip
FULL_SIZE, SMALL_SIZE = 10.5, 8.0  # points, of names beside rows
FULL_SIZE_LETTERS, LINE = 24, 28  # letters that a name may have in full size, and in a line
ROW = 0.27  # inches
MANY = 12  # above this many strategies a scatter plot names only the front and tells families by colour


@dataclass(frozen=True)
class Plot:
    """One finished picture: the file's name, a heading and a sentence for the report, and the PNG itself.

    ``chart``: the data that it was drawn from, where the page draws them, too, and :class:`.Figures` does not hold them.
    """

    name: str
    heading: str
    caption: str
    png: bytes
    figure: Figure | None = field(default=None, repr=False, compare=False)
    chart: Chart | None = field(default=None, repr=False, compare=False)

    def pdf(self) -> bytes | None:
        """The same as a PDF, with lines instead of pixels; None where only the pixels are left."""
        if self.figure is None:
            return None
        drawn = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(drawn, format="pdf", metadata={"CreationDate": None})
        return drawn.getvalue()


def draw_all(summary: Summary) -> list[Plot]:
    """Every plot that the experiment has data for, in the report's order."""
    drawers = _drawers(summary)
    with matplotlib.rc_context(STYLE):
        return [plot for draw in drawers.values() if (plot := draw()) is not None]


def draw(summary: Summary, which: str) -> Figure:
    """One of the report's plots as a matplotlib figure; ``which`` is its file's name without ``.png``.

    Raises:
        InputError: there is no such plot, or the experiment has no data for it.
    """
    drawers = _drawers(summary)
    if which not in drawers:
        raise InputError(f"there is no plot {shown(which)}; use one of {', '.join(drawers)}")
    with matplotlib.rc_context(STYLE):
        plot = drawers[which]()
    if plot is None:
        raise InputError(f"this experiment has no data for the plot {which!r}; run it first")
    assert plot.figure is not None
    return plot.figure


def _drawers(summary: Summary) -> dict[str, Callable[[], Plot | None]]:
    """What draws each plot, by name, in the report's order."""
    figures = figures_of(summary)
    return {
        "accuracy_vs_parameters": lambda: _against_parameters(summary, figures.scatter),
        "test_accuracy": lambda: _forest(summary, figures.intervals),
        "loss": lambda: _loss(summary, figures.loss),
        "accuracy": lambda: _accuracy(summary, figures.accuracy),
        "train_time": lambda: _time(summary, figures.time),
        "peak_memory": lambda: _memory(summary, figures.memory),
    }


def finish(figure: Figure, name: str, heading: str, caption: str) -> Plot:
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    # 256 colours are all that lines, marks and their soft edges need, at a third of the size.
    picture = Image.open(drawn).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    picture.save(small, "png")
    return Plot(name, heading, caption, small.getvalue(), figure)


def _title(summary: Summary, text: str) -> str:
    return f"{text}  ·  DEMO" if summary.experiment.demo_parts else text


def _looks(summary: Summary, family: str) -> tuple[str, str]:
    """Colour and marker of a family, by its place among the families present."""
    return FAMILY_LOOKS[summary.families.index(family) % len(FAMILY_LOOKS)]


# --- names ----------------------------------------------------------------------------------------------


def _name(label: str) -> tuple[str, float]:
    """A label as it is drawn, and its size in points: a long one in smaller type, continued on further lines."""
    text = continued(drawable(label), LINE)
    return text, FULL_SIZE if len(text) <= FULL_SIZE_LETTERS else SMALL_SIZE


def drawable(text: str) -> str:
    """``text`` with the characters that the plots' font lacks written as escapes."""
    font = get_font(findfont(STYLE["font.family"]))
    return "".join(each if font.get_char_index(ord(each)) else ascii(each)[1:-1] for each in text)


def _name_rows(axes: Axes, places: Sequence[float], labels: Sequence[str]) -> None:
    """Write the labels beside the rows of a chart of horizontal bars or intervals."""
    names = [_name(label) for label in labels]
    axes.set_yticks(list(places), [text for text, _ in names])
    for tick, (_, size) in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_fontsize(size)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def _row_height(labels: Sequence[str]) -> float:
    """Inches for each row of such a chart."""
    return ROW * max(1.0, max((_name(label)[0].count("\n") + 1 for label in labels), default=1) / 2)


# --- test accuracy --------------------------------------------------------------------------------------


def _against_parameters(summary: Summary, scatter: Scatter | None) -> Plot | None:
    rows = [point for point in scatter.points if scatter.x in point.values] if scatter else []
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 4.3 if len(rows) <= MANY else 6.0), layout="constrained")
    axes = figure.subplots()
    axes.set_title(_title(summary, "Test accuracy against trained parameters"))
    places = _parameter_places(rows)
    for row in rows:
        _point_with_interval(axes, summary, row, places[row.label])
    front = [row for label in summary.pareto for row in rows if row.label == label]
    axes.step(
        [places[row.label] for row in front], [_percent_of(row) for row in front],
        where="post", color=SOFT, linewidth=1.2, linestyle=(0, (4, 2)), zorder=1, label="Pareto front",
    )  # fmt: skip
    _parameter_axis(axes, rows, places)
    axes.set_ylabel("test accuracy (%)")
    _accuracy_limits(axes, rows)
    _family_legend(figure, axes, summary, rows)
    named = rows if len(rows) <= MANY else [row for row in rows if row.label in summary.pareto]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # the labels are placed in pixels: nothing may move from here on
    labels = [(places[row.label], _percent_of(row), row.label, row.label in summary.pareto) for row in named]
    _place_labels(axes, labels, places, rows)
    others = (
        ""
        if len(named) == len(rows)
        else " Only the front is named here; the next plot names every strategy."
    )
    caption = (
        f"Bars: {LEVEL_WORDS} interval of the test accuracy. Dashed line and bold names: the Pareto front, where no other "
        f"strategy is at least as accurate with fewer trained parameters.{others}"
    )
    return finish(figure, "accuracy_vs_parameters.png", "Accuracy against trained parameters", caption)


def _parameters_of(row: Point) -> float:
    return row.values["trainable_params"]


def _percent_of(row: Point) -> float:
    return 100 * row.values["test_accuracy"]


def _parameter_places(rows: Sequence[Point]) -> dict[str, float]:
    """Where each row stands on the logarithmic axis; 0 parameters get a place of their own at the left edge."""
    trained = [_parameters_of(row) for row in rows if _parameters_of(row)]
    left = min(trained, default=10) / 8
    return {row.label: float(_parameters_of(row) or left) for row in rows}


def _parameter_axis(axes: Axes, rows: Sequence[Point], places: dict[str, float]) -> None:
    axes.set_xscale("log")
    trained = [place for row in rows if (place := places[row.label]) and _parameters_of(row)]
    low, high = min(trained, default=1.0), max(trained, default=10.0)
    without = [places[row.label] for row in rows if not _parameters_of(row)]
    ticks = [10.0**power for power in range(ceil(np.log10(low) - 0.35), int(np.log10(high) + 0.35) + 1)]
    ticks = ticks[:: ceil(len(ticks) / 6)] if ticks else [low]
    if without:
        axes.axvline(low / 3, color=FAINT, linewidth=1)
        ticks = [without[0], *(tick for tick in ticks if tick > low / 3)]
    axes.set_xticks(ticks, ["0" if without and tick == without[0] else short_count(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(min(places.values()) / 2.2, high * 2.6)
    axes.set_xlabel("trained parameters (log scale)")


def _point_with_interval(axes: Axes, summary: Summary, row: Point, place: float) -> None:
    colour, marker = _looks(summary, row.family)
    low, high = row.interval or (np.nan, np.nan)
    axes.vlines(place, 100 * low, 100 * high, color=colour, linewidth=1.4, alpha=0.45, zorder=2)
    axes.plot(
        place,
        _percent_of(row),
        marker,
        color=colour,
        markersize=7,
        markeredgecolor="white",
        zorder=3,
    )


def _accuracy_limits(axes: Axes, rows: Sequence[Point]) -> None:
    low = min(100 * row.interval[0] for row in rows if row.interval)
    axes.set_ylim(max(-1.0, low - 4), 101.5)


def _family_legend(figure: Figure, axes: Axes, summary: Summary, rows: Sequence[Point]) -> None:
    """A legend below the axes, outside the data, where colours mean families."""
    families = [family for family in summary.families if any(row.family == family for row in rows)]
    for family in families:
        colour, marker = _looks(summary, family)
        axes.plot([], [], marker, color=colour, markersize=7, label=family)
    figure.legend(loc="outside lower center", ncols=min(4, len(families) + 1), frameon=False, fontsize=9.5,
                  handletextpad=0.4, columnspacing=1.2)  # fmt: skip


def _place_labels(
    axes: Axes,
    labels: Sequence[tuple[float, float, str, bool]],
    places: dict[str, float],
    rows: Sequence[Point],
) -> None:
    """Write each (x, y, text, bold) near its point, where it covers no point, interval, front or other label."""
    taken = [_pixel_box(axes, places[row.label], row) for row in rows]
    taken += _front_boxes(axes, [(x, y) for x, y, _, bold in labels if bold])
    for x, y, text, bold in sorted(labels, key=lambda label: -label[1]):
        note = axes.annotate(_name(text)[0], (x, y), (0, 0), textcoords="offset points", fontsize=min(9, _name(text)[1]), va="center",
                             fontweight="bold" if bold else "normal", annotation_clip=False)  # fmt: skip
        box = _least_crowded(axes, note, taken)
        taken.append(box)


def _pixel_box(axes: Axes, place: float, row: Point) -> Bbox:
    """What a point with its interval covers, in pixels."""
    low, high = row.interval or 2 * (row.values["test_accuracy"],)
    (x, bottom), (_, top) = axes.transData.transform([(place, 100 * low), (place, 100 * high)])
    return Bbox.from_extents(x - 4, bottom, x + 4, top)


def _front_boxes(axes: Axes, front: Sequence[tuple[float, float]]) -> list[Bbox]:
    """The steps of the Pareto front as thin boxes, in pixels."""
    points = [axes.transData.transform(point) for point in sorted(front)]
    steps = [((x, y), (right, top)) for (x, y), (right, top) in pairwise(points)]
    flat = [Bbox.from_extents(x, y - 2, right, y + 2) for (x, y), (right, _) in steps]
    upright = [Bbox.from_extents(right - 2, y, right + 2, top) for (_, y), (right, top) in steps]
    return flat + upright


def _least_crowded(axes: Axes, note: Annotation, taken: Sequence[Bbox]) -> Bbox:
    """Move ``note`` to the candidate place with the least overlap, near ones first; returns the box it covers."""
    inside = axes.get_window_extent()
    chosen, least = None, np.inf
    for distance in (0, 8, 12, 18, 24, 38, 54, 72, 92, 120):
        for across, align in ((7, "left"), (-7, "right"), (0, "center")):
            for up in {distance, -distance}:
                if align == "center" and distance == 0:
                    continue
                note.set(position=(across, up), ha=align)
                box = note.get_window_extent()
                outside = box.width * box.height - _overlap(box, inside)
                cost = 20 * (sum(_overlap(box, other) for other in taken) + outside) + distance
                if cost < least:
                    chosen, least = (across, up, align, box), cost
    assert chosen is not None
    across, up, align, box = chosen
    note.set(position=(across, up), ha=align)
    if abs(up) > 12:
        axes.annotate("", note.xy, (across, up), textcoords="offset points",
                      arrowprops={"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 3, "shrinkB": 3})  # fmt: skip
    return box.padded(1)


def _overlap(one: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(one, other)
    return common.width * common.height if common is not None else 0.0


def _forest(summary: Summary, rows: Sequence[IntervalRow]) -> Plot | None:
    if not rows:
        return None
    lines = _forest_lines(summary, rows)
    named = [
        (height, f"{line.label} ✗" if line.learned is False else line.label)
        for height, line in enumerate(lines)
        if not isinstance(line, str)
    ]
    height_of_row = _row_height([label for _, label in named])
    figure = Figure(figsize=(WIDTH, 1.3 + height_of_row * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(_title(summary, f"Test accuracy with {LEVEL_WORDS} intervals"), loc="left")
    beside = blended_transform_factory(axes.transAxes, axes.transData)
    for height, line in enumerate(lines):
        if isinstance(line, str):
            axes.text(
                -0.02,
                height,
                line,
                transform=beside,
                ha="right",
                va="center",
                fontsize=9.5,
                fontweight="bold",
                color=SOFT,
            )
            continue
        _forest_row(axes, summary, line, height)
        axes.text(1.02, height, line.words, transform=beside, va="center", fontsize=9.5)
    _name_rows(axes, [height for height, _ in named], [label for _, label in named])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    if summary.best is not None:
        axes.axvline(
            100 * (summary.best.test_accuracy or 0), color=SOFT, linewidth=1, linestyle=(0, (1, 2)), zorder=1
        )
    axes.set_xlabel("test accuracy (%)")
    caption = (
        "Filled: the best (dotted line) and those not shown to be below it. Hollow: below it beyond chance."
        if summary.comparisons
        else "The dotted line is the highest value; no difference is claimed, for want of seeds or predictions."
    )
    if summary.not_learned:
        caption += f" ✗ {NOT_LEARNED}."
    return finish(figure, "test_accuracy.png", "Test accuracy, every strategy", caption)


def _forest_lines(summary: Summary, rows: Sequence[IntervalRow]) -> list[IntervalRow | str]:
    """Rows from the most to the least accurate; with several families a heading before each family's rows."""
    ranked = sorted(rows, key=lambda row: -row.mean)
    if len({row.family for row in ranked}) < 2 or len(ranked) <= 6:
        return list(ranked)
    lines: list[IntervalRow | str] = []
    for family in summary.families:
        members = [row for row in ranked if row.family == family]
        lines += [family, *members] if members else []
    return lines


def _forest_row(axes: Axes, summary: Summary, row: IntervalRow, height: float) -> None:
    colour, marker = _looks(summary, row.family)
    axes.plot(
        [100 * row.low, 100 * row.high],
        [height, height],
        color=colour,
        linewidth=1.8,
        alpha=0.55,
        solid_capstyle="butt",
    )
    axes.plot(100 * row.mean, height, marker, markersize=7, color=colour, markeredgecolor=colour,
              markerfacecolor=colour if row.leads else "white", zorder=3)  # fmt: skip


# --- curves ---------------------------------------------------------------------------------------------


def _loss(summary: Summary, curves: Curves | None) -> Plot | None:
    caption = (
        "Training solid, validation dash-dotted; epochs below, examples seen above."
        " The mean of a few batches, not the whole split."
    )
    return _curves(summary, curves, "loss.png", "Loss while training", caption)


def _accuracy(summary: Summary, curves: Curves | None) -> Plot | None:
    caption = "Training solid, validation dash-dotted, on a few batches after each epoch; the table has the full splits."
    return _curves(summary, curves, "accuracy.png", "Accuracy while training", caption)


def _curves(summary: Summary, curves: Curves | None, name: str, heading: str, caption: str) -> Plot | None:
    """Small multiples, one panel per strategy, sharing both axes, training and validation in each."""
    if curves is None:
        return None
    count = len(curves.panels)
    columns = 1 if count == 1 else 2
    lines = ceil(count / columns)
    height = 3.6 if columns == 1 else max(3.4, 1.3 + (1.9 if lines <= 4 else 1.45) * lines)
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.suptitle(_title(summary, heading), fontsize=11.5, fontweight="bold", x=0.02, ha="left")
    for axes, panel in zip(panels.flat, curves.panels, strict=False):
        _curve_panel(axes, panel, curves.measure)
    _curve_limits(panels, curves)
    for axes in panels.flat[count:]:
        axes.set_visible(False)
    for column in range(columns):
        _label_edges(panels[:, column], curves.panels[column::columns])
    unit = "loss" if curves.measure == "loss" else "accuracy (%)"
    figure.supylabel(unit, fontsize=10.5)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
    seeds = " Thin lines: one per seed; bold: their mean." if summary.several_seeds else ""
    return finish(figure, name, heading, caption + seeds)


def _curve_panel(axes: Axes, panel: Panel, measure: str) -> None:
    name, size = _name(panel.label)
    axes.set_title(name, fontsize=min(10, size), fontweight="normal", pad=4)
    scale = 100 if measure == "accuracy" else 1
    for curve, colour, style in zip(panel.curves, (BLUE, VERMILLION), ("-", "-."), strict=True):
        _one_curve(axes, curve, scale, colour, style)


def _one_curve(axes: Axes, curve: Curve, scale: float, colour: str, style: str) -> None:
    """A thin line for each seed where there are several, and their mean."""
    if len(curve.seeds) > 1:
        for series in curve.seeds:
            epochs, values = np.array(series).reshape(-1, 2).T
            axes.plot(epochs, scale * values, style, color=colour, linewidth=0.6, alpha=0.45)
    mean = np.array(curve.over_seeds()).reshape(-1, 4)
    axes.plot(mean[:, 0], scale * mean[:, 1], style, color=colour, linewidth=1.7, marker="." if len(mean) <= 6 else None,
              label="training" if curve.split == "train" else curve.split)  # fmt: skip


def _curve_limits(panels: np.ndarray, curves: Curves) -> None:
    """One scale for all panels; a curve far above the others leaves the frame, and its panel says how high it goes."""
    last = max(panel.last_epoch for panel in curves.panels)
    panels[0, 0].set_xlim(0, 1.03 * last)
    panels[0, 0].xaxis.set_major_locator(MaxNLocator(5, integer=last >= 2))
    if curves.measure == "accuracy":
        panels[0, 0].set_ylim(top=101.5)
        return
    panels[0, 0].set_ylim(0, 1.06 * curves.top)
    for axes, panel in zip(panels.flat, curves.panels, strict=False):
        if panel.peak > curves.top:
            axes.text(
                0.97,
                0.95,
                f"peak {panel.peak:.3g} ↑",
                transform=axes.transAxes,
                ha="right",
                va="top",
                fontsize=8.5,
            )


def _label_edges(column: np.ndarray, panels: Sequence[Panel]) -> None:
    """Epochs under the lowest panel of a column, examples seen above the first (above each, where they differ)."""
    column[len(panels) - 1].set_xlabel("epochs", fontsize=9.5)
    column[len(panels) - 1].tick_params(labelbottom=True)
    per_epoch = [panel.examples_per_epoch for panel in panels]
    differ = len({round(each) for each in per_epoch}) > 1
    for axes, ratio in list(zip(column, per_epoch, strict=False))[: None if differ else 1]:
        above = axes.secondary_xaxis("top", functions=_conversions(ratio))
        above.set_xlabel("examples seen", fontsize=9.5, color=SOFT)
        above.tick_params(labelsize=8.5)
        above.xaxis.set_major_locator(MaxNLocator(4))
        above.xaxis.set_major_formatter(lambda value, _: short_count(value))


def _conversions(
    ratio: float,
) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    return (lambda epochs: epochs * ratio), (lambda examples: examples / ratio)


# --- cost -----------------------------------------------------------------------------------------------


def _time(summary: Summary, bars: Bars | None) -> Plot | None:
    caption = "Wall time of one run (mean over seeds) on this machine; hatched: several seeds timed together."
    colours = (BLUE, ORANGE, FAINT)
    return _bars(summary, bars, "train_time.png", "Time per run", colours, short_seconds, caption)


def _memory(summary: Summary, bars: Bars | None) -> Plot | None:
    caption = "Highest memory of one run (mean over seeds); hatched: several seeds trained together."
    return _bars(summary, bars, "peak_memory.png", "Peak memory per run", (GREEN,), short_bytes, caption)


def _bars(
    summary: Summary,
    bars: Bars | None,
    name: str,
    heading: str,
    colours: Sequence[str],
    written: Callable[[float], str],
    caption: str,
) -> Plot | None:
    """Stacked horizontal bars, one per strategy, in the order asked for, with the total at the end of each."""
    if bars is None:
        return None
    labels = [row.label for row in bars.rows]
    figure = Figure(figsize=(WIDTH, 1.35 + _row_height(labels) * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(_title(summary, heading))
    ends = np.zeros(len(labels))
    heights = np.arange(len(labels))
    hatches = ["////" if row.together else "" for row in bars.rows]
    for part, (label, colour) in enumerate(zip(bars.parts.values(), colours, strict=True)):
        lengths = np.array([row.parts[part] for row in bars.rows])
        if lengths.any():
            axes.barh(
                heights,
                lengths,
                left=ends,
                color=colour,
                hatch=hatches,
                edgecolor="white",
                linewidth=0,
                height=0.7,
                label=label,
            )
        ends += lengths
    for height, end in zip(heights, ends, strict=True):
        axes.text(float(end), float(height), f" {written(end)}", va="center", fontsize=9.5)
    _name_rows(axes, heights.tolist(), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    note = f"Not shown, no finished run: {', '.join(bars.left_out)}." if bars.left_out else ""
    _cost_axis(axes, bars.kind, ends.max(), note)
    if len(bars.parts) > 1:
        figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9.5)
    return finish(figure, name, heading, f"{caption} {note}".strip())


def _cost_axis(axes: Axes, kind: str, longest: float, note: str) -> None:
    """The axis below the bars in a unit that fits, and ``note`` under its name."""
    axes.set_xlim(0, 1.2 * longest)
    unit, size = _unit(kind, longest)
    step = float(MaxNLocator(5).tick_values(0, longest / size)[1])
    axes.xaxis.set_major_locator(MultipleLocator(size * step))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / size:g}")
    axes.set_xlabel("\n".join([unit, *wrap(note, 60)]))


def _unit(kind: str, largest: float) -> tuple[str, float]:
    """The unit of an axis that reaches ``largest`` seconds or bytes, and how many of those one unit is."""
    sizes = {"s": 1, "min": 60, "h": 3600} if kind == "seconds" else {"MiB": 2**20, "GiB": 2**30}
    names = {"s": "seconds", "min": "minutes", "h": "hours"}
    unit = [name for name, size in sizes.items() if largest >= 2 * size or size == min(sizes.values())][-1]
    return names.get(unit, unit), float(sizes[unit])
