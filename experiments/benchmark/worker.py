"""One contender in a process of its own, which does what it is told and says how long that took.

The stopwatch lies in the stream of events that the contender's own training loop follows: an event is done when
the loop asks for the next one. A process of its own makes the peak memory that of this contender alone.
"""

import contextlib
import ctypes
import gc
import math
import multiprocessing
import signal
import sys
import time
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import torch

from headtohead.core.engine.products import onednn_pays
from headtohead.core.training import Event, Measure, Moment, Step
from headtohead.experiments.benchmark.contender import Assignment, Running
from headtohead.experiments.benchmark.contenders import BY_NAME
from headtohead.experiments.benchmark.work import Sample, spread


@dataclass(frozen=True)
class Trial:
    """One turn of a contender: ``repeats`` times one step that is not timed, the timed steps, and an evaluation.

    Attributes:
        evaluated_batches: of train and of validation each.
        release: give memory back to the system afterwards.
    """

    repeats: int
    evaluated_batches: int
    release: bool


class Failed(RuntimeError):
    """A contender's process ended, or said what went wrong."""


class Remote:
    """A contender in its process, as seen from outside."""

    def __init__(self, target: Callable[..., None], *arguments: Any) -> None:
        context = _context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    def receive(self) -> Any:
        """The next answer.

        Raises:
            Failed: the process said why it cannot go on, or ended without a word.
        """
        try:
            kind, answer = self._connection.recv()
        except EOFError:
            self._process.join()
            raise Failed(f"its process ended with exit code {self._process.exitcode}") from None
        if kind == "failed":
            raise Failed(answer)
        return answer

    def ask(self, order: str, *arguments: Any) -> Any:
        """Give an order and wait for the answer."""
        with contextlib.suppress(OSError):  # where the process is gone, receive() says how it ended
            self._connection.send((order, arguments))
        return self.receive()

    def stop(self) -> None:
        """End the process."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()


def _context() -> Any:
    """Processes that do not inherit the parent's threads, with torch imported once for all where that is possible.

    torch._dynamo is what the first optimizer of a process imports, which takes seconds.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["headtohead.core.engine", "torch._dynamo", "headtohead.experiments.benchmark.contenders"]
    )
    return context


def run_contender(connection: Connection, name: str, assignment: Assignment, sample: Sample) -> None:
    """The body of a contender's process."""
    with reporting_failure(connection):
        running = BY_NAME[name].start(assignment)
        connection.send(("ready", running.facts))
        running.follow(_Orders(connection, running, assignment, sample).events())


@contextlib.contextmanager
def reporting_failure(connection: Connection) -> Generator[None]:
    """Send whatever goes wrong to the other side, and show where on the terminal.

    An interruption from the keyboard is the parent's to answer.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    except Exception as error:  # noqa: BLE001 - the other contenders go on; this one's row says why it is empty
        traceback.print_exc()
        connection.send(("failed", f"{type(error).__name__}: {error}"))


class _Orders:
    """Turns orders into events, and the time until the next event is asked for into answers."""

    def __init__(
        self, connection: Connection, running: Running, assignment: Assignment, sample: Sample
    ) -> None:
        self._connection, self._running, self._sample = connection, running, sample
        self._device, self._batch_size = assignment.device, assignment.config.batch_size
        self._steps = 0
        self._handlers: dict[str, Callable[..., Generator[Event, None, Any]]] = {
            "losses": self._losses,
            "trial": self._trial,
            "operations": self._operations,
            "prefix": self._prefix,
        }

    def events(self) -> Generator[Event]:
        """Steps and measurements, as ordered; ends with the connection."""
        while True:
            try:
                order, arguments = self._connection.recv()
            except EOFError:
                return
            answer = yield from self._handlers[order](*arguments)
            self._connection.send(("done", answer))

    def _losses(self) -> Generator[Event, None, dict[str, Any]]:
        """Train on the protocol's first batches; their losses, and the peak memory up to here."""
        losses, seconds = [], []
        for rows in self._sample.first_batches:
            seconds.append((yield from self._timed(self._step(rows))))
            losses.append(self._running.loss())
        evaluation = yield from self._timed(self._measure(1))
        peak = self._running.peak_memory_bytes()
        self._release()
        return {"losses": losses, "step": min(seconds), "evaluation": evaluation, "peak": peak}

    def _trial(self, trial: Trial) -> Generator[Event, None, dict[str, Any]]:
        """Seconds per repeat: of each timed batch, and of one evaluated batch of rows."""
        steps, evaluations = [], []
        for _ in range(trial.repeats):
            yield self._step(self._sample.timed_batches[0])
            times = []
            for rows in self._sample.timed_batches:
                times.append((yield from self._timed(self._step(rows))))
            steps.append(times)
            event = self._measure(trial.evaluated_batches)
            evaluated = sum(len(batch) for batch in [*event.train, *event.validation])
            evaluations.append((yield from self._timed(event)) * self._batch_size / evaluated)
        if trial.release:
            self._release()
        return {"steps": steps, "evaluations": evaluations}

    def _operations(self) -> Generator[Event, None, int]:
        """Floating-point operations of the matrix products of one step."""
        with _flop_counter() as counter:
            yield self._step(self._sample.timed_batches[len(self._sample.timed_batches) // 2])
        self._release()
        return int(counter.get_total_flops())

    def _prefix(self, from_disk: bool) -> Generator[Event, None, float]:
        """Seconds of the frozen prefix of the messages that this contender was given."""
        yield from ()
        return self._running.prefix_seconds(from_disk)

    def _timed(self, event: Event) -> Generator[Event, None, float]:
        start = self._now()
        yield event
        return self._now() - start

    def _now(self) -> float:
        if self._device.startswith("cuda"):
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def _step(self, rows: list[int]) -> Step:
        self._steps += 1
        return Step(torch.tensor(rows), Moment(self._steps - 1, 0.0, 0))

    def _measure(self, batches: int) -> Measure:
        count = batches * self._batch_size
        parts = {name: torch.tensor(spread(rows, count)) for name, rows in self._sample.evaluated.items()}
        train, validation = (list(parts[name].split(self._batch_size)) for name in ("train", "validation"))
        return Measure("loss", train, validation, Moment(self._steps, 0.0, 0))

    def _release(self) -> None:
        self._running.rest()
        gc.collect()
        if self._device == "cpu" and sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)


def _flop_counter() -> Any:
    """Torch's counter, taught what it does not count by itself: the CPU's attention, and oneDNN's products."""
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    def forward(query: Any, key: Any, value: Any, *rest: Any, **named: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def backward(gradient: Any, query: Any, key: Any, value: Any, *rest: Any, **named: Any) -> int:
        return int(sdpa_backward_flop_count(gradient, query, key, value))

    def linear(x: Any, weight: Any, *rest: Any, **named: Any) -> int:
        return 2 * math.prod(x) * int(weight[0])  # (n, D), (E, D): the counter gives shapes

    aten = torch.ops.aten
    own = {
        aten._scaled_dot_product_flash_attention_for_cpu: forward,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    if onednn_pays():  # not every build of torch has it
        own[torch.ops.mkldnn._linear_pointwise] = linear
    return FlopCounterMode(display=False, custom_mapping=own)
