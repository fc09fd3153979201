"""Curves that several sections draw: one small panel for each strategy, or one line for each in a common panel."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headtohead.experiments.plots import DPI, FAMILY_LOOKS, INK, SOFT, STYLE, WIDTH, Plot, drawable
from headtohead.experiments.statistics import Summary
from headtohead.experiments.tables import continued

COLUMNS = 3  # panels beside each other
LINES = ("-", (0, (5, 2)), (0, (1, 1.5)))


@dataclass(frozen=True)
class Curve:
    """One strategy's values.

    Attributes:
        x, y: of its points, in the order of x; y in percent.
        low, high: of a band around the line; none where they are empty.
        chosen, default: places on the x axis that are marked.
        hollow: numbers of points that are not comparable with the others.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    chosen: float | None = None
    default: float | None = None
    hollow: Sequence[int] = ()


@dataclass(frozen=True)
class Frame:
    """What stands around the curves."""

    name: str
    heading: str
    caption: str
    x_label: str
    y_label: str
    log: bool = True


def panels(summary: Summary, frame: Frame, curves: Sequence[Curve]) -> Plot:
    """A panel for each curve, all with the same y axis."""
    rows = ceil(len(curves) / COLUMNS)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 0.6 + 1.55 * rows), layout="constrained")
        figure.suptitle(_heading(summary, frame), x=0.02, ha="left", fontsize=11.5, fontweight="bold")
        grid = figure.subplots(rows, COLUMNS, sharey=True, squeeze=False).flatten()
        for axes, curve in zip(grid, curves, strict=False):
            _panel(axes, frame, curve)
        for axes in grid[len(curves) :]:
            axes.set_visible(False)
        figure.supxlabel(frame.x_label, fontsize=9.5)
        figure.supylabel(frame.y_label, fontsize=9.5)
    return _saved(figure, frame)


def together(summary: Summary, frame: Frame, curves: Sequence[Curve]) -> Plot:
    """One line for each curve, with its band, and a legend below."""
    with matplotlib.rc_context(STYLE):
        lines = ceil(len(curves) / 3)
        figure = Figure(figsize=(WIDTH, 3.4 + 0.22 * lines), layout="constrained")
        axes = figure.subplots()
        axes.set_title(_heading(summary, frame))
        for number, curve in enumerate(curves):
            colour, marker = FAMILY_LOOKS[number % len(FAMILY_LOOKS)]
            style = LINES[number // len(FAMILY_LOOKS) % len(LINES)]
            name = drawable(continued(curve.label, 28))
            axes.plot(
                curve.x,
                curve.y,
                marker,
                color=colour,
                linestyle=style,
                markersize=4,
                linewidth=1.5,
                label=name,
            )
            if curve.low:
                axes.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        _scale(axes, frame, sorted({x for curve in curves for x in curve.x}))
        axes.set_xlabel(frame.x_label)
        axes.set_ylabel(frame.y_label)
        figure.legend(loc="outside lower center", ncols=min(3, len(curves)), frameon=False, fontsize=9)
    return _saved(figure, frame)


def _panel(axes: Axes, frame: Frame, curve: Curve) -> None:
    axes.set_title(drawable(continued(curve.label, 20)), fontsize=9)
    axes.plot(curve.x, curve.y, "-", color=SOFT, linewidth=1)
    solid = [number for number in range(len(curve.x)) if number not in curve.hollow]
    for numbers, fill in ((curve.hollow, "white"), (solid, INK)):
        points = [curve.x[number] for number in numbers], [curve.y[number] for number in numbers]
        axes.plot(*points, "o", color=INK, markerfacecolor=fill, markersize=4)
    if curve.default is not None:
        axes.axvline(curve.default, color=SOFT, linewidth=1, linestyle=(0, (1, 2)))
    if curve.chosen is not None and curve.chosen in curve.x:
        place = list(curve.x).index(curve.chosen)
        axes.plot([curve.chosen], [curve.y[place]], "o", color=FAMILY_LOOKS[4][0], markersize=7)
    if frame.log:
        axes.set_xscale("log")
    axes.tick_params(labelsize=8)
    axes.minorticks_off()


def _scale(axes: Axes, frame: Frame, places: Sequence[float]) -> None:
    if not frame.log:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.minorticks_off()


def _heading(summary: Summary, frame: Frame) -> str:
    return f"{frame.heading}  ·  DEMO" if summary.experiment.demo_parts else frame.heading


def _saved(figure: Figure, frame: Frame) -> Plot:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    return Plot(frame.name, frame.heading, frame.caption, picture.getvalue())
