"""The comparison table in the terminal."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.wording import (
    LEVEL_WORDS,
    UNKNOWN,
    percent,
    percent_spread,
    plural,
    rate,
    short_bytes,
    short_count,
    short_seconds,
)


def comparison_table(summary: Summary) -> Table:
    """The report's comparison in 100 columns; bold where the paired test finds none better, failures named below."""
    title = f"{'DEMO · ' if summary.experiment.demo_parts else ''}{summary.experiment.description['name']}"
    table = Table(title=Text(title, style="bold"), box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.caption = _caption(summary)
    table.caption_justify = "left"
    table.add_column("strategy", overflow="fold")
    for heading in ("trained", "lr", "train %", "valid. %", "test %", "interval", "train", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    for family in summary.families:
        if len(summary.families) > 1:
            table.add_row(Text(family, style="dim italic"))
        for row in summary.rows:
            if row.family == family:
                _add(table, summary, row)
    return table


def _add(table: Table, summary: Summary, row: StrategySummary) -> None:
    style = "bold" if row.label in summary.leaders and summary.comparisons else ""
    if row.runs:
        table.add_row(Text(row.label, style=style), *(Text(cell, style=style) for cell in _cells(row)))
    if row.failed:
        table.add_row(
            Text(row.label, style="red"), *_why_not("failed", [run.seed for run in row.failed], "red")
        )
    if row.missing_seeds:
        table.add_row(Text(row.label, style="yellow"), *_why_not("not run", row.missing_seeds, "yellow"))


def _cells(row: StrategySummary) -> list[str]:
    memory, seconds = row.timing("peak_memory_bytes"), row.timing("train_seconds")
    low, high = row.interval or (None, None)
    return [
        UNKNOWN if row.trainable_params is None else short_count(row.trainable_params),
        rate(row.learning_rate),
        *(_mean(row, name) for name in ("train_accuracy", "validation_accuracy")),
        percent_spread(row.spread("test_accuracy")),
        f"{percent(low)}–{percent(high)}",
        (short_seconds(seconds.mean) if seconds else UNKNOWN) + ("‡" if row.timed_in_groups else ""),
        short_bytes(memory.mean if memory else None),
    ]


def _why_not(word: str, seeds: Sequence[int], style: str) -> list[Text]:
    which = f"{plural('seed', len(seeds))} {', '.join(str(seed) for seed in seeds)}"
    return [Text(word, style=style), *[Text("")] * 3, Text(which, style=style)]


def _mean(row: StrategySummary, name: str) -> str:
    spread = row.spread(name)
    return percent(spread.mean if spread else None)


def _caption(summary: Summary) -> Text:
    lines = []
    if len(summary.finished) > 1 and summary.comparisons:
        better = "better than every other beyond chance"
        same = f"not distinguishable from the best on these {summary.test_size} test messages"
        lines.append(f"Bold: {better if summary.clear_winner else same}.")
    lines.append(f"Interval: {LEVEL_WORDS}, of the test accuracy.")
    if any(row.timed_in_groups for row in summary.rows):
        lines.append("‡ Several seeds timed together.")
    caption = Text(" ".join(lines), style="dim")
    for run in summary.failed:
        first_line = (run.error or "no reason recorded").strip().splitlines()[0]
        caption.append(f"\n{run.label}, seed {run.seed}, failed: {first_line}", style="not dim red")
    return caption
