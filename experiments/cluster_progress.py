"""The progress of runs in a cluster: how many are done, which run where, what was lost, the time left.

Whatever comes from a node or an error is printed as text, never as markup.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.text import Text

from headtohead.experiments.console import (
    BAR,
    LIVE,
    PLAIN_LINE_SECONDS,
    about,
    clock,
    unwrapped,
)
from headtohead.experiments.outcomes import Outcomes
from headtohead.experiments.progress import FIXED_SECONDS, Work
from headtohead.experiments.tables import continued, visible

if TYPE_CHECKING:
    from headtohead.core import training
    from headtohead.experiments.record import RunRecord

SHOWN = 6  # lines of groups that are running; more are counted


class ClusterProgress:
    """Shows the runs as they go: drawn anew in a terminal, plain lines elsewhere.

    Args:
        works: the work that each run, by its title, is part of.
        names: of all runs, as :func:`.outcomes.run_name` says them.
    """

    def __init__(self, console: Console, works: Mapping[str, Work], names: Sequence[str]) -> None:
        self.console = console
        self._outcomes = Outcomes(console, names)
        self.failed = 0
        self.running: dict[str, tuple[str, ...]] = {}  # "node: first run" -> titles that have not come back
        shares = {id(work): sum(other is work for other in works.values()) for work in works.values()}
        self._cost = {title: (work.passes + 1) / shares[id(work)] for title, work in works.items()}
        self._all = sum(self._cost.values())
        self._started = self._last_line = time.monotonic()
        self._first: float | None = (
            None  # when the first runs were placed: what came before is not their pace
        )
        self._note = "starting workers"
        self._lock = threading.RLock()

    def placed(self, titles: Sequence[str], where: str) -> None:
        """Runs have started on a node."""
        with self._lock:
            more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
            self.running[f"{titles[0]}{more} on {where}"] = tuple(titles)
            self._first = self._first or time.monotonic()
            self._note = ""
        self._line(f"{titles[0]}{more}: on {where}")

    def lost(self, titles: Sequence[str], why: str) -> None:
        """A worker or node died; these runs begin again."""
        with self._lock:
            gone = set(titles)
            self.running = {key: held for key, held in self.running.items() if not gone & set(held)}
        what = titles[0] if len(titles) == 1 else f"{titles[0]} and {len(titles) - 1} more"
        self.console.print(Text(visible(f"{what} will begin again: {why}"), style="yellow"))

    def step(self, progress: "training.Progress") -> None:
        """Progress of what all runs share."""
        with self._lock:
            self._note = f"{progress.phase} {progress.step}/{progress.total_steps}"
        if time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
            self._line(self._note)

    def end(self, record: "RunRecord") -> None:
        """A run has come back, well or not."""
        with self._lock:
            self.failed += not record.ok
            self._cost.pop(record.title, None)
            left = {
                key: tuple(each for each in held if each != record.title)
                for key, held in self.running.items()
            }
            self.running = {key: held for key, held in left.items() if held}
            ended = self._outcomes.ended(record, record.environment.get("node") or "", self._time())
        # Not under the lock, as in console.RunProgress.
        self.console.print(ended)

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the pace so far; None before the first run has come back."""
        rest = sum(self._cost.values())
        if self._first is None or not self._outcomes.done or rest >= self._all:
            return None
        spent = time.monotonic() - self._first
        return spent * rest / (self._all - rest) + FIXED_SECONDS * bool(rest)

    def __rich__(self) -> RenderableType:
        with self._lock:
            running = list(self.running)
            lines: list[RenderableType] = [
                Text(continued(key, LIVE), style="bold") for key in running[:SHOWN]
            ]
            if len(running) > SHOWN:
                lines.append(Text(f"and {len(running) - SHOWN} more groups"))
            if self._note:
                lines.append(Text(visible(self._note)))
            failed = f", {self.failed} failed" if self.failed else ""
            lines.append(
                Text(f"{self._outcomes.done} of {self._outcomes.total} runs{failed} · {self._time()}")
            )
            part = 1 - sum(self._cost.values()) / max(self._all, 1e-9)
            lines.append(ProgressBar(total=1.0, completed=part, width=min(BAR, self.console.width)))
        return unwrapped(lines)

    def _line(self, text: str) -> None:
        """A plain line, where there is no terminal to draw in."""
        if not self.console.is_terminal:
            self._last_line = time.monotonic()
            self.console.print(Text(visible(f"  {text}")))

    def _time(self) -> str:
        elapsed = f"{clock(time.monotonic() - self._started)} elapsed"
        return elapsed if self.left is None else f"{elapsed}, {about(self.left)} left"
