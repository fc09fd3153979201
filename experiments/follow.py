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
from headtohead.experiments.spec.machine import parse_shard
from headtohead.experiments.tables import bare_table, visible
from headtohead.experiments.wording import UNKNOWN, percent, short_seconds

REFRESH_SECONDS = 0.5
SHOWN = 30  # finished runs; of more, the latest


@dataclass
class Followed:
    """The latest command of an experiment, or of one of its shards, as its events tell it.

    Attributes:
        shard: such as "2/8"; empty where the command does all.
        placed: on a cluster, the titles of what runs and where.
        ended: why nothing more will come; empty while it runs.
    """

    shard: str = ""
    command: str = ""
    planned: int = 0
    finished: list[dict[str, Any]] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    placed: dict[str, str] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    now: dict[str, Any] = field(default_factory=dict)
    ended: str = ""

    def hear(self, event: dict[str, Any]) -> None:
        """One more event."""
        kind = event["event"]
        if kind == "planned":
            self.command, self.planned = str(event.get("command", "")), len(event.get("runs", []))
        elif kind == "began":
            self.titles, self.losses, self.now = list(event.get("titles", [])), [], event
        elif kind == "placed":
            self.placed |= {str(title): str(event.get("where")) for title in event.get("titles", [])}
        elif kind == "lost":
            self._gone(event.get("titles", []))
        elif kind == "step":
            self.now = event
            if event.get("loss") is not None:
                self.losses.append(float(event["loss"]))
        elif kind == "finished":
            self.finished.append(event)
            self._gone([event.get("title")])
        elif kind == "reported":
            self.ended = f"Finished: the highest test accuracy has {event.get('best') or 'none'}."
        elif kind == "interrupted":
            self.ended = "Interrupted by its user; the same command continues."

    def _gone(self, titles: Sequence[Any]) -> None:
        """These are no longer where they were placed."""
        for title in titles:
            self.placed.pop(str(title), None)


def state_of(events: Sequence[dict[str, Any]]) -> list[Followed]:
    """What the events since the latest command's start amount to: one state, or one for each shard of that command."""
    latest: dict[str, Followed] = {}
    for event in events:
        shard = str(event.get("shard") or "")
        if event["event"] == "planned":
            of = shard.partition("/")[2]
            latest = {each: state for each, state in latest.items() if each and each.partition("/")[2] == of}
            latest[shard] = Followed(shard)
        latest.setdefault(shard, Followed(shard)).hear(event)
    return sorted(latest.values(), key=lambda state: int(state.shard.partition("/")[0] or 0)) or [Followed()]


def picture(states: Sequence[Followed]) -> RenderableType:
    """A table of the finished runs, the running ones with their loss, and the time left."""
    table = bare_table()
    for name, justify in (("run", "left"), ("accuracy %", "right"), ("time", "right")):
        table.add_column(Text(name), justify=justify)  # type: ignore[arg-type]
    finished = sorted(
        (event for state in states for event in state.finished), key=lambda event: str(event.get("time"))
    )
    for event in finished[-SHOWN:]:
        table.add_row(*_row(event))
    lines: list[RenderableType] = [Text(visible(states[-1].command), style="bold"), table]
    if len(finished) > SHOWN:
        lines.append(Text(f"and {len(finished) - SHOWN} runs before them", style="dim"))
    for state in states:
        lines += _state(state)
    return Group(*lines)


def _state(state: Followed) -> list[Text]:
    """What runs, how much is done, and how it ended."""
    lines = []
    if not state.ended and (state.titles or state.placed):
        lines += _placed(state) if state.placed else [_running(state)]
    left = state.now.get("left_seconds")
    rest = f", {about(left)} left" if left is not None and not state.ended else ""
    which = f"shard {state.shard}: " if state.shard else ""
    done = f"{len(state.finished)} of {max(state.planned, len(state.finished))} runs"
    lines.append(Text(visible(f"{which}{done}{rest}")))
    if state.ended:
        lines.append(Text(visible(state.ended), style="bold"))
    return lines


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


def _placed(state: Followed) -> list[Text]:
    """What runs on a cluster, and where."""
    lines = [
        Text(visible(f"{title} on {where}"), style="bold")
        for title, where in list(state.placed.items())[:SHOWN]
    ]
    more = len(state.placed) - SHOWN
    return [*lines, Text(f"and {more} more")] if more > 0 else lines


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


def follow(directory: Path, console: Console) -> list[Followed]:
    """Show the experiment in ``directory`` until its command ends, or its shards do; without a terminal, once.

    Raises:
        InputError: nothing was ever run there.
    """
    path = directory / EVENTS_FILE
    if not path.is_file():
        raise InputError(
            f"--watch {directory.name}: {path} does not exist; name an experiment that runs or has run"
        )
    if not console.is_terminal:
        states = _checked(state_of(read_events(path)), directory)
        console.print(picture(states))
        return states
    with ExitStack() as screen:
        live: Live | None = None
        while True:
            states = _checked(state_of(read_events(path)), directory)
            if live is None:
                live = screen.enter_context(Live(picture(states), console=console, auto_refresh=False))
            live.update(picture(states), refresh=True)
            if all(state.ended for state in states):
                return states
            time.sleep(REFRESH_SECONDS)


def _checked(states: list[Followed], directory: Path) -> list[Followed]:
    """The states, ended where no process works on them any more."""
    for state in states:
        shard = parse_shard(state.shard) if state.shard else None
        if not state.ended and not is_held(directory, shard):
            state.ended = "Not running: its process ended without a word; the same command continues."
    return states
