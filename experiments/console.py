"""What run_all.py shows in the terminal: the list of strategies, the plan, the progress and the end."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from headtohead.strategies._catalogue import Entry, by_family

if TYPE_CHECKING:
    from headtohead.core import training
    from headtohead.experiments.record import RunRecord
    from headtohead.experiments.statistics import Summary

READABLE = 110  # columns that a paragraph takes at most
PLAIN_LINE_SECONDS = 30.0  # between two lines about a run where there is no terminal to draw a bar in


# --- --list ----------------------------------------------------------------------------------------------------


def print_catalogue(console: Console, entries: Sequence[Entry]) -> None:
    """The table of ``--list``: strategies grouped by family."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("strategy", style="bold", overflow="fold")
    table.add_column("what is trained")
    table.add_column("trainable\nat 124M", justify="right")
    table.add_column("learning\nrate", justify="right")
    for family, group in by_family(entries).items():
        table.add_section()
        table.add_row(Text(family, style="bold cyan"))
        for entry in group:
            table.add_row(f"  {escape(entry.name)}", _what(entry), entry.at_124m, entry.learning_rate)
    broken = [entry for entry in entries if entry.error is not None]
    if broken:
        table.add_section()
    for entry in broken:
        table.add_row(f"  {escape(entry.name)}", Text(f"{entry.path}: {entry.error}", style="red"), "-", "-")
    console.print(table)
    console.print(
        "\nUse them as --strategies head,lora@r=4+alpha=8; --set lora.r=4 sets a field of every lora. Every strategy "
        "also has learning_rate and weight_decay; those that stand on PEFT, targets=W_query/W_value and layers=0/1."
    )


def _what(entry: Entry) -> Text:
    own = [name for name in entry.fields if name in entry.own and name != "weight_decay"]
    shown = [f"{name}={entry.fields[name]}" for name in own]
    text = Text(entry.trains)
    return text.append("\n" + "  ".join(shown), style="dim") if shown else text


# --- before the first run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanRow:
    """One variant in the startup panel.

    Attributes:
        trainable, total: parameters, where they are known before the run.
        to_run, of: runs left and in all.
        how: the engine's plan in words.
        trouble: why the variant cannot be run.
    """

    label: str
    trains: str
    learning_rate: float | None
    to_run: int
    of: int
    trainable: int | None = None
    total: int | None = None
    how: tuple[str, ...] = ()
    trouble: str | None = None


def print_demo(console: Console, parts: Sequence[str], missing: Sequence[str]) -> None:
    """The panel that says DEMO: which ``parts`` are the embedded demo, and what was ``missing`` and why."""
    which = " and the embedded demo ".join(parts)
    text = (
        f"This run uses the embedded demo {which}: the same code end to end, but its numbers say nothing about "
        "GPT-2 on real messages."
    )
    for reason in missing:
        text += f"\n\nNot found: {reason}."
    if missing:
        text += (
            "\n\nWith a network, or with --weights-dir DIR and --data FILE, the same command runs the real "
            "comparison; --model demo --data demo asks for the demo outright."
        )
    console.print(Panel(Text(text), title="[bold]DEMO[/bold]", border_style="yellow"))


def print_plan(console: Console, facts: Mapping[str, str], rows: Sequence[PlanRow]) -> None:
    """The startup panel: ``facts`` (model, data, device ...) and one row per variant."""
    from headtohead.experiments.wording import rate

    top = Table.grid(padding=(0, 2))
    top.add_column(style="bold")
    top.add_column()
    for name, value in facts.items():
        top.add_row(name, Text(value))
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("strategy", style="bold", overflow="fold")
    table.add_column("what is trained")
    for column in ("trainable", "%", "learning\nrate", "runs\nleft"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        known = row.trainable is not None and row.total is not None
        counts = (f"{row.trainable:,}", _percent(row.trainable or 0, row.total or 0)) if known else ("-", "-")
        trains = Text(row.trains) if row.trouble is None else Text(row.trouble, style="red")
        trains.append("".join(f"\n· {sentence}" for sentence in row.how), style="dim")
        left = f"{row.to_run} of {row.of}"
        table.add_row(escape(row.label), trains, *counts, rate(row.learning_rate), left)
    console.print(Panel(Group(top, "", table), title="[bold]headtohead[/bold]", border_style="cyan"))


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.3g}" if whole else "-"


# --- while it runs ---------------------------------------------------------------------------------------------


class RunProgress:
    """Shows the runs as they go: bars in a terminal, plain lines elsewhere."""

    def __init__(self, console: Console, bars: Progress, total_runs: int) -> None:
        self.console = console
        self.bars = bars
        self.total_runs = total_runs
        self.finished_runs = 0
        self.title = ""
        self.phase = ""
        self.last_line = 0.0
        self.overall: TaskID = bars.add_task("all runs", total=total_runs, note=f"0/{total_runs} runs")
        self.current: TaskID | None = None

    def begin(self, titles: Sequence[str]) -> None:
        """A run starts, or several at once."""
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        self.title, self.phase = titles[0] + more, ""
        self.last_line = time.monotonic()
        self.current = self.bars.add_task(escape(self.title), total=None, note="preparing")

    def step(self, progress: "training.Progress") -> None:
        """A step of the current run is done; passed to the engine as ``on_progress``."""
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        what = "step" if progress.phase == "training" else progress.phase
        note = f"{what} {progress.step}/{progress.total_steps}{loss}"
        if self.current is not None:
            if progress.phase != self.phase:
                self.bars.reset(self.current)  # the time left is worked out anew for each phase
            self.bars.update(self.current, completed=progress.step, total=progress.total_steps, note=note)
        self.phase = progress.phase
        if not self.console.is_terminal and time.monotonic() - self.last_line > PLAIN_LINE_SECONDS:
            self.last_line = time.monotonic()
            self.console.print(f"  {self.title}: {note}", markup=False)

    def end(self, record: "RunRecord") -> None:
        """A run is finished, well or not."""
        self.finished_runs += 1
        number = f"[{self.finished_runs}/{self.total_runs}]"
        self.bars.update(self.overall, completed=self.finished_runs, note=f"{number[1:-1]} runs")
        self.console.print(_outcome_line(number, f"{record.label}, seed {record.seed}", record))

    def drop_current(self) -> None:
        """Take the bar of what was begun away."""
        if self.current is not None:
            self.bars.remove_task(self.current)
            self.current = None


@contextmanager
def run_progress(console: Console, total_runs: int) -> Iterator[RunProgress]:
    """A :class:`RunProgress` that is drawn as long as the context lasts."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(
        *columns, console=console, transient=True, expand=True, disable=not console.is_terminal
    ) as bars:
        yield RunProgress(console, bars, total_runs)


def _outcome_line(number: str, title: str, record: "RunRecord") -> Text:
    from headtohead.experiments.wording import UNKNOWN, short_seconds

    line = Text(f"{number} {title}: ")
    if not record.ok:
        return line.append("failed", style="bold red").append(f": {record.error}")
    accuracy = UNKNOWN if record.test_accuracy is None else f"{100 * record.test_accuracy:.2f} %"
    seconds = UNKNOWN if record.total_seconds is None else short_seconds(record.total_seconds)
    line.append(f"test accuracy {accuracy}").append(f" in {seconds}", style="dim")
    for warning in record.warnings:
        line.append(f"\n  note: {warning}", style="yellow")
    return line


# --- after the last run ----------------------------------------------------------------------------------------


def print_end(
    console: Console,
    summary: "Summary",
    paths: Mapping[str, Path],
    seconds: float | None,
) -> None:
    """The comparison and its answer, failed runs with their traceback files, where the report lies, the time taken."""
    from headtohead.experiments.record import TRACEBACK_FILE, run_directory
    from headtohead.experiments.terminal import ComparisonTable, visible
    from headtohead.experiments.wording import answer, short_seconds

    directory = summary.experiment.directory
    console.print()
    console.print(ComparisonTable(summary))
    console.print()
    first, *rest = answer(summary)
    console.print(
        Text(visible(first), style="bold").append(" ".join(["", *map(visible, rest)]), style="not bold"),
        width=min(console.width, READABLE),
    )
    console.print()
    for run in summary.failed:
        path = run_directory(directory, run.run_id) / TRACEBACK_FILE
        if path.is_file():
            console.print(
                Text(f"{run.label}, seed {run.seed}, failed: its traceback is in {path}", style="red")
            )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, path in paths.items():
        if path.parent == directory:
            grid.add_row(name, Text(str(path)))
    for folder in dict.fromkeys(path.parent for path in paths.values() if path.parent != directory):
        grid.add_row(folder.name, Text(str(folder)))
    if seconds is not None:
        grid.add_row("total time", short_seconds(seconds))
    console.print(grid)
