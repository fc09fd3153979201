"""What run_all.py shows in the terminal: the list of strategies, the plan, the progress and the end.

Whatever comes from a file, a flag or an error is printed as text, never as markup. Imports nothing heavy, so that
something is shown at once.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from headtohead.experiments.outcomes import Outcomes
from headtohead.experiments.progress import Estimator, Work
from headtohead.experiments.sparkline import sparkline
from headtohead.experiments.tables import Heading, Item, Listing, continued, visible
from headtohead.strategies._catalogue import Entry, by_family

if TYPE_CHECKING:
    from headtohead.core import training
    from headtohead.experiments.record import RunRecord
    from headtohead.experiments.statistics import Summary

Progress = TypeVar("Progress", bound=RenderableType)
READABLE = 110  # columns that a paragraph takes at most
LIVE, BAR = 58, 40  # columns of what is drawn anew, and of its bar
SHORTEST = 5  # seconds; an estimate says no less
PLAIN_LINE_SECONDS = 30.0  # between two lines about a run where there is no terminal to draw a bar in


@contextmanager
def starting(console: Console) -> Iterator[Callable[[str], None]]:
    """Say at once that something happens, while slow imports and files are read.

    Yields a function that changes what is said. In a terminal it disappears at the end; elsewhere it is a line.
    """
    words = "Starting: loading PyTorch, the model and the messages"
    if not console.is_terminal:
        console.print(f"{words} ...", markup=False)
        yield lambda text: console.print(f"{text} ...", markup=False)
        return
    with console.status(Text(words)) as status:
        yield lambda text: status.update(Text(visible(text)))


# --- --list ----------------------------------------------------------------------------------------------------


def print_catalogue(console: Console, entries: Sequence[Entry]) -> None:
    """The table of ``--list``: strategies grouped by family."""
    items = []
    for family, group in by_family(entries).items():
        items.append(Item(family, style="bold cyan"))
        items += [
            Item(f"  {entry.name}", (entry.at_124m, entry.learning_rate), _what(entry)) for entry in group
        ]
    for entry in entries:
        if entry.error is not None:
            problem = Text(visible(f"{entry.path}: {entry.error}"), style="red")
            items.append(Item(f"  {entry.name}", ("-", "-"), problem, style="red"))
    headings = [Heading("trainable at 124M", 1), Heading("learning rate", 2)]
    console.print(Listing(headings, "what is trained", items))
    console.print(
        "\nUse them as --strategies head,lora@r=4+alpha=8; --set lora.r=4 sets a field of every lora. Every strategy "
        "also has learning_rate and weight_decay; those that stand on PEFT, targets=W_query/W_value and layers=0/1.",
        width=min(console.width, READABLE),
    )


def _what(entry: Entry) -> Text:
    own = [name for name in entry.fields if name in entry.own and name != "weight_decay"]
    shown = [f"{name}={entry.fields[name]}" for name in own]
    text = Text(visible(entry.trains))
    return text.append(visible("\n" + "  ".join(shown)), style="dim") if shown else text


# --- before the first run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PlanRow:
    """One variant in the startup panel.

    Attributes:
        trainable, total: parameters, where they are known before the run.
        to_run, of: runs left and in all.
        kept: the seeds whose runs are finished and not done again.
        how: the engine's plan in words.
        trouble: why the variant cannot be run.
    """

    label: str
    trains: str
    learning_rate: float | None
    to_run: int
    of: int
    kept: tuple[int, ...] = ()
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
    console.print(Panel(Text(visible(text)), title="[bold]DEMO[/bold]", border_style="yellow"))


def print_plan(console: Console, facts: Mapping[str, str], rows: Sequence[PlanRow]) -> None:
    """The startup panel: ``facts`` (model, data, device ...), what is kept from before, and one row per variant."""
    kept = [f"{row.label} (seed {', '.join(map(str, row.kept))})" for row in rows if row.kept]
    shared = _shared([row.how for row in rows if row.how])
    top = Table.grid(padding=(0, 2))
    top.add_column(style="bold", no_wrap=True)
    top.add_column()
    more = {"kept": ", ".join(kept), "every run": "; ".join(shared)}
    for name, value in {**facts, **{name: value for name, value in more.items() if value}}.items():
        top.add_row(Text(name), Text(visible(value)))
    headings = [Heading("trainable", 1), Heading("%", 3), Heading("learning rate", 2), Heading("runs left")]
    listing = Listing(headings, "what is trained", [_plan_item(row, shared) for row in rows])
    console.print(Panel(Group(top, "", listing), title="[bold]headtohead[/bold]", border_style="cyan"))


def _plan_item(row: PlanRow, shared: Sequence[str]) -> Item:
    from headtohead.experiments.wording import UNKNOWN, count, rate, share

    percent = 100 * row.trainable / row.total if row.trainable is not None and row.total else None
    text = Text(visible(row.trains)) if row.trouble is None else Text(visible(row.trouble), style="red")
    for sentence in row.how:
        if sentence not in shared:
            text.append(f"\n· {visible(sentence)}", style="dim")
    left = f"{row.to_run} of {row.of}" if row.to_run else UNKNOWN
    return Item(row.label, (count(row.trainable), share(percent), rate(row.learning_rate), left), text)


def _shared(plans: Sequence[Sequence[str]]) -> list[str]:
    """The sentences that all of several plans say; they are said once."""
    if len(plans) < 2:
        return []
    return [sentence for sentence in plans[0] if all(sentence in plan for plan in plans)]


def about(seconds: float) -> str:
    """ "about 40 s", but "under 5 s"."""
    return roughly(seconds) if seconds < SHORTEST else f"about {roughly(seconds)}"


def roughly(seconds: float) -> str:
    """A duration with the digits that an estimate has: "under 5 s", "40 s", "12 min", "1 h 20 min", "2 days 3 h"."""
    if seconds < SHORTEST:
        return f"under {SHORTEST} s"
    if seconds < 57.5:
        return f"{5 * round(seconds / 5)} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 24 * 60:
        return (
            f"{minutes // 60} h {5 * (minutes % 60 // 5)} min" if minutes % 60 >= 5 else f"{minutes // 60} h"
        )
    days, hours = divmod(round(minutes / 60), 24)
    return f"{days} {'day' if days == 1 else 'days'} {hours} h"


# --- while it runs ---------------------------------------------------------------------------------------------


class RunProgress:
    """Shows the runs as they go: drawn anew in a terminal, plain lines elsewhere.

    Args:
        names: of all runs, as :func:`.outcomes.run_name` says them.
    """

    def __init__(self, console: Console, works: Sequence[Work], names: Sequence[str]) -> None:
        self.console = console
        self._outcomes = Outcomes(console, names)
        self._estimator = Estimator(works)
        self._lock = (
            threading.RLock()
        )  # the screen is drawn, and runs side by side report, from other threads
        self._title = ""
        self._note = ""
        self._losses: list[float] = []  # of the current work, as they were read
        self._open = 0  # runs of the current work that have not ended
        self._measured = True
        self._last_line = time.monotonic()

    def begin(self, titles: Sequence[str]) -> None:
        """The next work starts: a run, or several at once."""
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        with self._lock:
            self._title, self._note, self._measured = titles[0] + more, "preparing", True
            self._losses = []
            self._open = len(titles)
            self._estimator.begin()

    def step(self, progress: "training.Progress") -> None:
        """A step of the current work is done; passed to the engine as ``on_progress``."""
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        what = "step" if progress.phase == "training" else progress.phase
        with self._lock:
            self._note = f"{what} {progress.step}/{progress.total_steps}{loss}"
            if progress.loss is not None and (not self._losses or progress.loss != self._losses[-1]):
                self._losses.append(progress.loss)
            self._estimator.step(progress.step, progress.total_steps, progress.preparing)
            if not self.console.is_terminal and time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
                self._last_line = time.monotonic()
                self.console.print(Text(f"  {visible(self._title)}: {self._note}; {self._time()}"))

    def end(self, record: "RunRecord") -> None:
        """A run is finished, well or not."""
        with self._lock:
            self._open -= 1
            self._measured &= record.ok
            if not self._open:
                self._title = ""
                self._estimator.end(self._measured)
            self._last_line = time.monotonic()
            ended = self._outcomes.ended(record, time_left=self._time())
        # Not under the lock: what draws the screen waits for it while it holds the console.
        self.console.print(ended)

    def __rich__(self) -> RenderableType:
        """A few short lines: a terminal that is made narrower wraps none of them, so all are drawn over."""
        with self._lock:
            lines: list[RenderableType] = [
                Text(f"{self._outcomes.done} of {self._outcomes.total} runs · {self._time()}"),
                ProgressBar(total=1.0, completed=self._estimator.part, width=min(BAR, self.console.width)),
            ]
            if self._title:
                left = self._estimator.current_left
                note = self._note if left is None else f"{self._note}, {roughly(left)} left"
                note += f" {sparkline(self._losses)}"
                lines = [Text(continued(self._title, LIVE), style="bold"), Text(f"  {note}"), *lines]
        return unwrapped(lines)

    def _time(self) -> str:
        left = self._estimator.left
        elapsed = f"{clock(self._estimator.elapsed)} elapsed"
        return elapsed if left is None else f"{elapsed}, {about(left)} left"


def clock(seconds: float) -> str:
    """75.2 -> "1:15", 5400 -> "1:30:00"."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def unwrapped(lines: Sequence[RenderableType]) -> Group:
    """Lines one below the other; one that is too long is cut."""
    for line in lines:
        if isinstance(line, Text):
            line.no_wrap, line.overflow = True, "ellipsis"
    return Group(*lines)


@contextmanager
def drawn(console: Console, progress: Progress) -> Iterator[Progress]:
    """A progress that is drawn as long as the context lasts, where there is a terminal."""
    with ExitStack() as screen:
        if console.is_terminal:
            screen.enter_context(Live(progress, console=console, transient=True, refresh_per_second=4))
        yield progress


# --- after the last run ----------------------------------------------------------------------------------------


def _print_paragraph(console: Console, sentences: Sequence[str]) -> None:
    """The first sentence in bold, the others after it."""
    first, *rest = sentences
    console.print(
        Text(visible(first), style="bold").append(" ".join(["", *map(visible, rest)]), style="not bold"),
        width=min(console.width, READABLE),
    )
    console.print()


def print_end(
    console: Console,
    summary: "Summary",
    paths: Mapping[str, Path],
    seconds: float | None,
) -> None:
    """The comparison and its answer, failed runs with their traceback files, where the report lies, the time taken."""
    from headtohead.experiments.advice_words import advice
    from headtohead.experiments.record import TRACEBACK_FILE, run_directory
    from headtohead.experiments.terminal import ComparisonTable
    from headtohead.experiments.wording import answer, plural, protocol_title, short_seconds

    directory = summary.experiment.directory
    console.print()
    console.print(ComparisonTable(summary))
    console.print()
    for sentences in (advice(summary), answer(summary)):
        if sentences:
            _print_paragraph(console, sentences)
    for other in summary.others:
        runs = f"{len(other.experiment.records)} {plural('run', len(other.experiment.records))}"
        console.print(f"Also in the report, under another protocol ({protocol_title(other)}): {runs}.")
    for run in summary.failed:
        path = run_directory(directory, run.run_id) / TRACEBACK_FILE
        if path.is_file():
            console.print(
                Text(
                    visible(f"{run.label}, seed {run.seed}, failed: its traceback is in {path}"), style="red"
                )
            )
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, path in paths.items():
        if path.parent == directory:
            grid.add_row(Text(visible(name)), Text(visible(str(path))))
    for folder in dict.fromkeys(path.parent for path in paths.values() if path.parent != directory):
        grid.add_row(Text(visible(folder.name)), Text(visible(str(folder))))
    if seconds is not None:
        grid.add_row("total time", short_seconds(seconds))
    console.print(grid)
