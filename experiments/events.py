"""``events.jsonl``: what happened in an experiment's folder, a line of JSON each, appended and never changed.

Every line has ``time`` (ISO 8601, UTC) and ``event``, the name of what :class:`Watcher` hears; where shards write into
one folder, ``shard``, such as "2/8", too. A process that is killed may leave half a line; the next one begins a new
line after it.
"""

import json
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headtohead.experiments.progress import Estimator, work_of
from headtohead.experiments.record import to_json
from headtohead.experiments.watch import Watcher

if TYPE_CHECKING:
    from headtohead.core import training
    from headtohead.experiments.agenda import Agenda
    from headtohead.experiments.record import RunRecord
    from headtohead.experiments.runs import Run
    from headtohead.experiments.statistics import Summary

EVENTS_FILE = "events.jsonl"
STEP_SECONDS = 1.0  # between two lines about steps


class EventLog(Watcher):
    """Appends a line for everything that it hears; steps at most once a second."""

    def __init__(self, directory: Path, shard: tuple[int, int] | None = None) -> None:
        self.path = directory / EVENTS_FILE
        self._who = {"shard": f"{shard[0]}/{shard[1]}"} if shard else {}
        self._lock = threading.Lock()  # runs side by side report from other threads
        self._latest = 0.0
        self._phase = ""
        self._estimator: Estimator | None = None
        self._open = 0

    def planned(self, agenda: "Agenda") -> None:
        left = [run.title for run in agenda.to_run]
        self._write(
            "planned",
            command=agenda.command,
            runs=left,
            finished_before=len(agenda.runs) - len(left),
            estimated_seconds=agenda.estimate.seconds,
        )

    def launching(self, agenda: "Agenda", groups: "Sequence[Sequence[Run]]") -> None:
        known = {run.variant.label: run.finished.total_seconds for run in agenda.runs if run.finished}
        self._estimator = Estimator(
            [
                work_of(agenda.engine.of(group[0].part), [run.variant for run in group], known)
                for group in groups
            ]
        )
        self._write("launching", groups=[[run.title for run in group] for group in groups])

    def began(self, titles: Sequence[str]) -> None:
        self._latest, self._phase, self._open = 0.0, "", len(titles)
        if self._estimator is not None:
            self._estimator.begin()
        self._write("began", titles=list(titles), **self._left())

    def placed(self, titles: Sequence[str], where: str) -> None:
        self._write("placed", titles=list(titles), where=where)

    def lost(self, titles: Sequence[str], why: str) -> None:
        self._write("lost", titles=list(titles), why=why)

    def step(self, progress: "training.Progress") -> None:
        with self._lock:
            if self._estimator is not None:
                self._estimator.step(progress.step, progress.total_steps, progress.preparing)
            now = time.monotonic()
            if now - self._latest < STEP_SECONDS and progress.phase == self._phase:
                return
            self._latest, self._phase = now, progress.phase
        self._write(
            "step",
            phase=progress.phase,
            step=progress.step,
            of=progress.total_steps,
            loss=progress.loss,
            **self._left(),
        )

    def finished(self, record: "RunRecord") -> None:
        self._open -= 1
        if self._open == 0 and self._estimator is not None:
            self._estimator.end(record.ok)
        names = (
            "run_id",
            "title",
            "label",
            "seed",
            "role",
            "status",
            "test_accuracy",
            "validation_accuracy",
            "total_seconds",
        )
        error = record.error.strip().partition("\n")[0] if record.error else None
        self._write(
            "finished", **{name: getattr(record, name) for name in names}, error=error, **self._left()
        )

    def reported(self, summary: "Summary", paths: Mapping[str, Path], seconds: float | None) -> None:
        best = summary.best
        self._write(
            "reported", seconds=seconds, best=best.label if best else None, failed=len(summary.failed)
        )

    def interrupted(self, kept: int, of: int) -> None:
        self._write("interrupted", kept=kept, of=of)

    def _left(self) -> dict[str, float | None]:
        if self._estimator is None:
            return {}
        return {"left_seconds": self._estimator.left, "current_left_seconds": self._estimator.current_left}

    def _write(self, event: str, **content: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps(
            json.loads(to_json({"time": now, "event": event, **self._who, **content})), ensure_ascii=False
        )
        with self._lock, self.path.open("a+b") as file:
            file.seek(0, 2)
            if file.tell() and (file.seek(-1, 2), file.read(1))[1] != b"\n":
                line = "\n" + line  # after half a line that a killed process left
            file.write(line.encode() + b"\n")


def read_events(path: Path) -> list[dict[str, Any]]:
    """The events of a file, in their order; half a line that a killed process left is no event."""
    if not path.is_file():
        return []
    events = []
    for line in path.read_bytes().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and isinstance(event.get("event"), str):
            events.append(event)
    return events
