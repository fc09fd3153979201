"""Follows an experiment that runs elsewhere on this machine: ``python run_all.py --watch NAME`` on another terminal."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from headtohead.core.errors import InputError
from headtohead.experiments.console import about
from headtohead.experiments.events import EVENTS_FILE, read_events
from headtohead.experiments.lock import is_held
from headtohead.experiments.sparkline import sparkline
from headtohead.experiments.tables import bare_table, visible
from headtohead.experiments.wording import UNKNOWN, percent, short_seconds

REFRESH_SECONDS = 0.5
SHOWN = 30  # finished runs; of more, the latest


@dataclass
class Followed:
    """The latest command of an experiment, as its events tell it.

    Attributes:
        ended: why nothing more will come; empty while it runs.
    """

    command: str = ""
    planned: int = 0
    finished: list[dict[str, Any]] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    now: dict[str, Any] = field(default_factory=dict)
    ended: str = ""


def state_of(events: Sequence[dict[str, Any]]) -> Followed:
    """What the events since the latest command's start amount to."""
    starts = [place for place, event in enumerate(events) if event["event"] == "planned"]
    state = Followed()
    for event in events[starts[-1] if starts else 0 :]:
        kind = event["event"]
        if kind == "planned":
            state.command, state.planned = str(event.get("command", "")), len(event.get("runs", []))
        elif kind == "began":
            state.titles, state.losses, state.now = list(event.get("titles", [])), [], event
        elif kind == "step":
            state.now = event
            if event.get("loss") is not None:
                state.losses.append(float(event["loss"]))
        elif kind == "finished":
            state.finished.append(event)
        elif kind == "reported":
            state.ended = f"Finished: the highest test accuracy has {event.get('best') or 'none'}."
        elif kind == "interrupted":
            state.ended = "Interrupted by its user; the same command continues."
    return state


def picture(state: Followed) -> RenderableType:
    """A table of the finished runs, the running one with its loss, and the time left."""
    table = bare_table(Text(visible(state.command), style="bold"))
    for name, justify in (("run", "left"), ("accuracy %", "right"), ("time", "right")):
        table.add_column(Text(name), justify=justify)  # type: ignore[arg-type]
    for event in state.finished[-SHOWN:]:
        table.add_row(*_row(event))
    lines: list[RenderableType] = [table]
    if len(state.finished) > SHOWN:
        lines.append(Text(f"and {len(state.finished) - SHOWN} runs before them", style="dim"))
    if not state.ended and state.titles:
        lines.append(_running(state))
    left = state.now.get("left_seconds")
    rest = f", {about(left)} left" if left is not None and not state.ended else ""
    lines.append(Text(f"{len(state.finished)} of {max(state.planned, len(state.finished))} runs{rest}"))
    if state.ended:
        lines.append(Text(visible(state.ended), style="bold"))
    return Group(*lines)


def _row(event: dict[str, Any]) -> tuple[Text, Text, Text]:
    name = Text(visible(f"{event.get('label')}, seed {event.get('seed')}"))
    if event.get("role") == "trial":
        name = Text("trial: ").append(name)
    if event.get("status") != "ok":
        return name, Text("failed", style="red"), Text(visible(str(event.get("error") or "")), style="red")
    split = "validation_accuracy" if event.get("role") == "trial" else "test_accuracy"
    value, seconds = event.get(split), event.get("total_seconds")
    return (
        name,
        Text(UNKNOWN if value is None else percent(value)),
        Text(UNKNOWN if seconds is None else short_seconds(seconds)),
    )


def _running(state: Followed) -> Text:
    more = f" and {len(state.titles) - 1} more" if len(state.titles) > 1 else ""
    text = Text(visible(state.titles[0]) + more, style="bold")
    now = state.now
    if now.get("of"):
        text.append(f"  {now.get('phase')} {now.get('step')}/{now['of']}", style="not bold")
    if state.losses:
        text.append(f"  loss {state.losses[-1]:.3f} ", style="not bold")
        text.append(sparkline(state.losses), style="cyan")
    left = now.get("current_left_seconds")
    return text.append(f"  {about(left)} left", style="not bold") if left is not None else text


def follow(directory: Path, console: Console) -> Followed:
    """Show the experiment in ``directory`` until its command ends; without a terminal, once.

    Raises:
        InputError: nothing was ever run there.
    """
    path = directory / EVENTS_FILE
    if not path.is_file():
        raise InputError(
            f"--watch {directory.name}: {path} does not exist; name an experiment that runs or has run"
        )
    if not console.is_terminal:
        state = _checked(state_of(read_events(path)), directory)
        console.print(picture(state))
        return state
    with ExitStack() as screen:
        live: Live | None = None
        while True:
            state = _checked(state_of(read_events(path)), directory)
            if live is None:
                live = screen.enter_context(Live(picture(state), console=console, auto_refresh=False))
            live.update(picture(state), refresh=True)
            if state.ended:
                return state
            time.sleep(REFRESH_SECONDS)


def _checked(state: Followed, directory: Path) -> Followed:
    """The state, ended where no process works in the folder any more."""
    if not state.ended and not is_held(directory):
        state.ended = "Not running: its process ended without a word; the same command continues."
    return state
