"""benchmark.json, benchmark.csv, benchmark.md and benchmark.png."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.experiments.benchmark.groups import GroupTimes
from headtohead.experiments.benchmark.results import Row, Together
from headtohead.experiments.wording import short_bytes, short_seconds

T = TypeVar("T")
SCHEMA_VERSION = 1
EMPTY = ""


@dataclass(frozen=True)
class Outcome:
    """All that is written.

    Attributes:
        facts: command, machine, versions, model, data set, protocol, settings, counts of work, GEMM speed.
        notes: how to read the numbers, a sentence each.
    """

    facts: dict[str, Any]
    notes: list[str]
    rows: list[Row]
    together: list[Together]
    groups: list[GroupTimes]


def write_all(outcome: Outcome, stem: Path) -> list[Path]:
    """Write the four files ``stem``.json, .csv, .md, .png; returns their paths."""
    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in ("json", "csv", "md", "png")]
    document = {"schema_version": SCHEMA_VERSION, **outcome.facts, "notes": outcome.notes}
    document["rows"] = [asdict(row) for row in outcome.rows]
    document["one_experiment"] = [asdict(item) for item in outcome.together]
    document["several_seeds"] = [group.as_row() for group in outcome.groups]
    write_text_atomic(paths[0], json.dumps(document, indent=2) + "\n")
    write_text_atomic(paths[1], _csv(outcome.rows))
    write_text_atomic(paths[2], markdown(outcome, paths[3].name))
    write_bytes_atomic(paths[3], draw(outcome))
    return paths


def _csv(rows: Sequence[Row]) -> str:
    import pandas as pd

    columns = [field.name for field in fields(Row)]
    table = pd.DataFrame([asdict(row) | {"words": "; ".join(row.words)} for row in rows], columns=columns)
    return str(table.to_csv(index=False, lineterminator="\n"))


# --- text ------------------------------------------------------------------------------------------------------


def markdown(outcome: Outcome, plot: str) -> str:
    """The tables, ratios first."""
    facts = outcome.facts
    lines = ["# Benchmark", "", facts["summary"], "", f"    {facts['command']}", "", *_ratios(outcome), ""]
    lines += [f"![time of a whole run]({plot})", "", *_extras(outcome), "## Measured parts", ""]
    for strategy in dict.fromkeys(row.strategy for row in outcome.rows):
        lines += [
            f"### {strategy}",
            "",
            *_parts([row for row in outcome.rows if row.strategy == strategy]),
            "",
        ]
    lines += ["## How to read this", "", *(f"- {note}" for note in outcome.notes), ""]
    lines += [
        "## Machine and versions",
        "",
        *(f"- {name}: {value}" for name, value in facts["environment"].items()),
    ]
    return "\n".join(lines) + "\n"


def _ratios(outcome: Outcome) -> list[str]:
    strategies = list(dict.fromkeys(row.strategy for row in outcome.rows))
    titles = {row.contender: row.title for row in outcome.rows if row.protocol_seconds or row.trouble}
    baselines = sorted({row.compared_with for row in outcome.rows if row.compared_with})
    names = " or ".join(titles.get(name, name) for name in baselines) or "nothing: there was no baseline"
    lines = [f"Time of a whole run against {names}: how many times faster (lowest to highest round).", ""]
    body = []
    for name, title in titles.items():
        by_strategy = {row.strategy: row for row in outcome.rows if row.contender == name}
        body.append([title, *(_ratio_cell(by_strategy.get(each)) for each in strategies)])
        if any(row.ratio_from_disk for row in by_strategy.values()):
            cells = [
                _times(by_strategy[each].ratio_from_disk) if each in by_strategy else EMPTY
                for each in strategies
            ]
            body.append([f"{title}, prefix on disk", *cells])
    return lines + _table(["contender", *strategies], body)


def _ratio_cell(row: Row | None) -> str:
    if row is None or row.ratio is None:
        return EMPTY
    if row.contender == row.compared_with:
        return "1"
    return f"**{_times(row.ratio)}** ({_times(row.ratio_low)} to {_times(row.ratio_high)})"


def _times(value: float | None) -> str:
    """0.953 -> "0.95x", 9.13 -> "9.1x", 1234 -> "1,234x"."""
    if value is None:
        return EMPTY
    return f"{value:,.0f}x" if value >= 99.5 else f"{value:.1f}x" if value >= 9.95 else f"{value:.2f}x"


def _extras(outcome: Outcome) -> list[str]:
    lines = [
        f"- {' and '.join(item.strategies)} in one experiment ({item.contender}): {short_seconds(item.seconds)} with "
        f"one prefix, against {short_seconds(item.baseline_seconds)} of {item.compared_with}: **{_times(item.ratio)}**."
        for item in outcome.together
    ]
    lines += [
        f"- {row.strategy}, {row.title} against transformers + peft with dynamic padding: "
        f"**{_times(row.ratio_dynamic)}**."
        for row in outcome.rows
        if row.ratio_dynamic and row.contender == "ours_last_real"
    ]
    lines += [
        f"- {group.strategy}, {group.runs} runs at once: {short_seconds(group.all_seconds)}, one alone "
        f"{short_seconds(group.one_seconds)}: **{group.all_seconds / group.one_seconds:.2f}** times the cost of one."
        for group in outcome.groups
    ]
    return [*lines, ""] if lines else []


COLUMNS: dict[str, Callable[[Row], str]] = {
    "contender": lambda row: row.title,
    "faster": lambda row: _times(row.ratio),
    "whole run": lambda row: _or_empty(row.protocol_seconds, short_seconds),
    "step": lambda row: _or_empty(row.step_milliseconds, _milliseconds),
    "evaluation batch": lambda row: _or_empty(row.evaluation_batch_milliseconds, _milliseconds),
    "prefix": lambda row: _or_empty(row.prefix_seconds, short_seconds),
    "from disk": lambda row: _or_empty(row.prefix_from_disk_seconds, short_seconds),
    "peak memory": lambda row: _or_empty(row.peak_memory_bytes, short_bytes),
    "GFLOP per step": lambda row: _or_empty(row.operations_per_step, lambda value: f"{value / 1e9:,.3g}"),
    "of GEMM speed": lambda row: _or_empty(row.gemm_fraction, lambda value: f"{100 * value:.0f} %"),
    "loss difference": lambda row: _or_empty(row.largest_loss_difference, lambda value: f"{value:.1e}"),
}


def _parts(rows: Sequence[Row]) -> list[str]:
    body = [[write(row) for write in COLUMNS.values()] for row in rows]
    lines = _table(list(COLUMNS), body)
    lines += [""] + [f"{row.title}: {row.trouble}." for row in rows if row.trouble]
    lines += [
        f"{row.title}: losses not compared, {row.losses_not_compared}."
        for row in rows
        if row.losses_not_compared
    ]
    return lines


def _or_empty(value: T | None, write: Callable[[T], str]) -> str:
    return EMPTY if value is None else write(value)


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 10 else f"{value:,.0f} ms"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' + '---:|' * (len(head) - 1)}"]
    return lines + [f"| {' | '.join(cells)} |" for cells in body]


# --- plot ------------------------------------------------------------------------------------------------------


def draw(outcome: Outcome) -> bytes:
    """Bars of whole-run time on a log axis, one panel per strategy, each bar with its ratio, as PNG."""
    import matplotlib
    from matplotlib.figure import Figure

    from headtohead.experiments.plots import DPI, STYLE

    strategies = list(dict.fromkeys(row.strategy for row in outcome.rows))
    bars = {
        strategy: _bars([row for row in outcome.rows if row.strategy == strategy]) for strategy in strategies
    }
    drawn = {strategy: entries for strategy, entries in bars.items() if entries}
    heights = [len(entries) + 1.2 for entries in drawn.values()] or [1]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.9 + 0.29 * sum(heights)), layout="constrained")
        figure.suptitle(outcome.facts["title"], fontsize=10.5, x=0.01, ha="left")
        panels = figure.subplots(max(len(drawn), 1), 1, sharex=True, squeeze=False, height_ratios=heights)[
            :, 0
        ]
        for axes, (strategy, entries) in zip(panels, drawn.items(), strict=False):
            _draw_panel(axes, strategy, entries)
        panels[-1].set_xlabel("seconds of one whole run (log scale)")
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    return picture.getvalue()


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length, and what stands at its end."""

    title: str
    seconds: float
    label: str
    ours: bool
    other_protocol: bool


def _bars(rows: Sequence[Row]) -> list[Bar]:
    bars = []
    for row in rows:
        ours, other = row.contender.startswith("ours"), row.position == "last_real"
        if row.protocol_seconds is not None:
            label = _bar_label(
                row.protocol_seconds, None if row.contender == row.compared_with else row.ratio
            )
            bars.append(Bar(row.title, row.protocol_seconds, label, ours, other))
        if row.protocol_from_disk_seconds is not None:
            seconds = row.protocol_from_disk_seconds
            label = _bar_label(seconds, row.ratio_from_disk)
            bars.append(Bar(f"{row.title}, prefix on disk", seconds, label, ours, other))
    return bars


def _bar_label(seconds: float, ratio: float | None) -> str:
    return f"{short_seconds(seconds)}  ·  {_times(ratio)}" if ratio is not None else short_seconds(seconds)


def _draw_panel(axes: Any, strategy: str, bars: Sequence[Bar]) -> None:
    from matplotlib.ticker import FuncFormatter

    from headtohead.experiments.plots import BLUE, GREY, INK

    places = range(len(bars))
    colors = [BLUE if bar.ours else GREY for bar in bars]
    drawn = axes.barh(places, [bar.seconds for bar in bars], color=colors, height=0.72)
    for patch, bar in zip(drawn, bars, strict=True):
        patch.set_alpha(0.55 if bar.other_protocol else 1.0)
        end = (bar.seconds, patch.get_y() + patch.get_height() / 2)
        axes.annotate(
            bar.label, end, xytext=(4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    longest, shortest = max(bar.seconds for bar in bars), min(bar.seconds for bar in bars)
    left, right = axes.get_xlim()
    axes.set_xlim(min(left, shortest / 2), max(right, longest * 20))
    axes.set_yticks(places, [bar.title for bar in bars], fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title(strategy)
