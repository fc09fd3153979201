"""What sections draw along an axis, by matplotlib: a small panel for each strategy, or one line for each in a frame."""

import re
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from headtohead.experiments.figures import Chart, Line
from headtohead.experiments.plots import (
    BLUE,
    FAINT,
    FAMILY_LOOKS,
    SOFT,
    STYLE,
    VERMILLION,
    WIDTH,
    Plot,
    drawable,
    finish,
)
from headtohead.experiments.statistics import Summary
from headtohead.experiments.tables import continued

COLUMNS = 3  # panels beside each other
LINES = ("-", (0, (5, 2)), (0, (1, 1.5)))
LETTERS, FEW_LETTERS = 28, 20  # of a name in a line of the legend, and above a panel


def draw_chart(summary: Summary, chart: Chart) -> Plot:
    """The picture of ``chart``, which keeps its data for the page."""
    heading = f"{chart.heading}  ·  DEMO" if summary.experiment.demo_parts else chart.heading
    with matplotlib.rc_context(STYLE):
        figure = _panels(chart, heading) if chart.apart else _together(chart, heading)
        plot = finish(figure, f"{chart.name}.png", chart.heading, chart.caption)
    return replace(plot, chart=chart)


# --- a panel for each --------------------------------------------------------------------------------------------


def _panels(chart: Chart, heading: str) -> Figure:
    """A panel for each line, all with the same y axis."""
    columns = COLUMNS if not chart.diagonal else min(COLUMNS, len(chart.lines))
    rows = ceil(len(chart.lines) / columns)
    height = 1.9 if chart.diagonal else 1.55
    figure = Figure(figsize=(WIDTH, 0.9 + height * rows), layout="constrained")
    figure.suptitle(heading, x=0.02, ha="left", fontsize=11.5, fontweight="bold")
    grid = figure.subplots(rows, columns, sharex=chart.diagonal, sharey=True, squeeze=False).flatten()
    for axes, line in zip(grid, chart.lines, strict=False):
        _panel(axes, chart, line)
    for axes in grid[len(chart.lines) :]:
        axes.set_visible(False)
    if chart.diagonal:
        grid[0].set_xlim(min(45.0, min(min(line.x) for line in chart.lines) - 5), 102)
        grid[0].set_ylim(-2, 102)
    figure.supxlabel(chart.x_title, fontsize=10)
    figure.supylabel(chart.y, fontsize=10)
    return figure


def _panel(axes: Axes, chart: Chart, line: Line) -> None:
    axes.set_title(continued(drawable(line.label), FEW_LETTERS), fontsize=9, fontweight="normal", pad=4)
    if line.bars:
        axes.bar(line.x, line.bars, width=6, color=FAINT)
    if chart.diagonal:
        axes.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    axes.plot(line.x, line.y, "-", color=BLUE, linewidth=1.5)
    x, y = np.array(line.x), np.array(line.y)
    hollow = np.isin(np.arange(len(x)), list(line.hollow))
    for some, fill in ((hollow, "white"), (~hollow, BLUE)):
        axes.plot(x[some], y[some], "o", color=BLUE, markerfacecolor=fill, markersize=4)
    if line.default is not None:
        axes.axvline(line.default, color=SOFT, linewidth=1, linestyle=(0, (1, 2)))
    if line.chosen is not None and line.chosen in line.x:
        axes.plot(
            [line.chosen], [line.y[list(line.x).index(line.chosen)]], "o", color=VERMILLION, markersize=7
        )
    if chart.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: _power(value))  # matplotlib's own is a formula
    axes.tick_params(labelsize=8)
    axes.minorticks_off()


def _power(value: float) -> str:
    """0.001 -> "1e-3", 16 -> "16"."""
    return f"{value:g}" if 0.01 <= value < 1e5 else re.sub(r"e([+-])0*", r"e\1", f"{value:.0e}")


# --- all in one frame --------------------------------------------------------------------------------------------


def _together(chart: Chart, heading: str) -> Figure:
    """One line for each, with its band, and a legend below."""
    figure = Figure(figsize=(WIDTH, 3.4 + 0.22 * ceil(len(chart.lines) / 3)), layout="constrained")
    axes = figure.subplots()
    axes.set_title(heading)
    for number, line in enumerate(chart.lines):
        colour, marker = FAMILY_LOOKS[number % len(FAMILY_LOOKS)]
        style = LINES[number // len(FAMILY_LOOKS) % len(LINES)]
        name = drawable(continued(line.label, LETTERS))
        axes.plot(
            line.x, line.y, marker, color=colour, linestyle=style, markersize=4, linewidth=1.5, label=name
        )
        if line.low:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
    _scale(axes, chart, sorted({x for line in chart.lines for x in line.x}))
    axes.set_xlabel(chart.x_title)
    axes.set_ylabel(chart.y)
    figure.legend(loc="outside lower center", ncols=min(3, len(chart.lines)), frameon=False, fontsize=9)
    return figure


def _scale(axes: Axes, chart: Chart, places: Sequence[float]) -> None:
    if not chart.log:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    axes.set_xscale("log", base=2)
    axes.set_xticks(places, [f"{place:,.0f}" for place in places])
    axes.minorticks_off()
