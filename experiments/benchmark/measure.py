"""Turns: what is compared was measured within the same minutes, each time in a process of its own.

The machine may be shared and its speed may drift, so every round gives each contender a turn, in another order, and
ratios are taken within a round. The stopwatch lies in the stream of events that a contender's own training loop
follows: an event is done when the loop asks for the next one. A fresh process makes peak memory, threads and settings
of the allocator those of one contender alone.
"""

import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from rich.console import Console
from rich.markup import escape
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.errors import InputError
from headtohead.core.strategy import Variant
from headtohead.core.training import Event, Measure, Moment, Step
from headtohead.experiments.benchmark import ours, peers
from headtohead.experiments.benchmark.contender import Contender, Running, Task, Turn
from headtohead.experiments.benchmark.inputs import Work, count_work
from headtohead.experiments.wording import short_seconds
from headtohead.strategies import did_you_mean

T = TypeVar("T")
BOOK = {"llms_from_scratch": "pip install --no-deps llms-from-scratch"}
TRANSFORMERS = {"transformers": "pip install transformers", "peft": "pip install peft"}
OURS_LAST_REAL, BOOK_LAST_REAL = "ours_last_real", "book_last_real"
CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("ours", "headtohead", "last", ours.start),
        Contender("book", "the book's GPTModel", "last", peers.start_book, BOOK),
        Contender(OURS_LAST_REAL, "headtohead --position last_real", "last_real", ours.start),
        Contender(
            "transformers_dynamic",
            "transformers + peft, dynamic padding",
            "last_real",
            peers.start_transformers,
            TRANSFORMERS,
        ),
        Contender(
            BOOK_LAST_REAL,
            "the book's, at the last real token",
            "last_real",
            peers.start_book,
            BOOK,
            timed=False,
        ),
    )
}
GEMM = (960, 768, 3072)  # the largest product of a block of 124M: 8 messages of 120 tokens, D -> 4D


def choose(names: str | None) -> list[Contender]:
    """``"ours,book"`` -> these, or all; where the book is among them, its losses under every protocol of theirs.

    Raises:
        InputError: an unknown name.
    """
    known = [name for name, contender in CONTENDERS.items() if contender.timed]
    wanted = known if names is None else [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise InputError(f"--contenders: unknown contender {name!r}; {did_you_mean(name, known)}")
    if not wanted:
        raise InputError(f"--contenders {names!r}: name at least one of {', '.join(known)}")
    if {"book", OURS_LAST_REAL} <= set(wanted):
        wanted = [*wanted, BOOK_LAST_REAL]
    return [contender for name, contender in CONTENDERS.items() if name in wanted]


def missing(contender: Contender) -> str | None:
    """What has to be installed for a contender, as a sentence; None where it can run."""
    absent = [name for name in contender.packages if find_spec(name) is None]
    commands = " && ".join(contender.packages[name] for name in absent)
    return f"{', '.join(absent)} not installed: {commands}" if absent else None


@dataclass
class Measurements:
    """Everything that one run of the benchmark measured; ``work`` is by position."""

    work: dict[str, Work]
    turns: list[Turn] = field(default_factory=list)
    several: list[ours.Several] = field(default_factory=list)
    failed: bool = False


class Benchmark:
    """Measures contenders under strategies, one strategy after the other.

    Args:
        task: what is the same in all turns.
    """

    def __init__(self, contenders: Sequence[Contender], task: Task, console: Console) -> None:
        self.contenders = [contender for contender in contenders if missing(contender) is None]
        self.absent = [contender for contender in contenders if contender not in self.contenders]
        self.task, self.console = task, console
        self.configs = {each.position: replace(task.config, position=each.position) for each in contenders}
        self.found = Measurements(
            {name: count_work(task.dataset, own, task.settings.seed) for name, own in self.configs.items()}
        )

    def run(self, variants: Sequence[Variant]) -> Measurements:
        """Measure everything."""
        start = time.perf_counter()
        for number, variant in enumerate(variants, start=1):
            self._say(f"\n[bold]{escape(variant.label)}[/bold]")
            self.found.turns += [
                Turn(variant.label, contender.name, trouble=missing(contender)) for contender in self.absent
            ]
            for round_number in range(self.task.settings.rounds):
                self._round(variant, round_number)
            if "ours" in (contender.name for contender in self.contenders):
                self._several(variant)
            took = short_seconds(time.perf_counter() - start)
            self._say(f"  {number} of {len(variants)} strategies after {took}")
        return self.found

    def _round(self, variant: Variant, number: int) -> None:
        """A turn of each contender; where to begin changes from round to round."""
        speed, at = gemm_speed(self.task.device), number % max(len(self.contenders), 1)
        for contender in self.contenders[at:] + self.contenders[:at]:
            if contender.timed or number == 0:
                task = self._task(contender, variant, first=number == 0)
                turn, trouble = self._in_process(contender.name, take_turn, contender.name, task)
                turn = turn or Turn(variant.label, contender.name, trouble=trouble)
                turn.round, turn.gemm_speed = number, speed
                self.found.turns.append(turn)
                self._report(turn)

    def _task(self, contender: Contender, variant: Variant, first: bool) -> Task:
        folder = self.task.folder / f"{variant.name}-{contender.name}"
        return replace(
            self.task, variant=variant, config=self.configs[contender.position], first=first, folder=folder
        )

    def _report(self, turn: Turn) -> None:
        if turn.step_seconds is not None and turn.evaluation_seconds is not None:
            prefix = f"prefix {short_seconds(turn.prefix_seconds)}, " if turn.prefix_seconds else ""
            self._say(
                f"  round {turn.round + 1}: {turn.contender:21} {prefix}step {1e3 * turn.step_seconds:,.2f} ms, "
                f"evaluation batch {1e3 * turn.evaluation_seconds:,.2f} ms"
            )

    def _several(self, variant: Variant) -> None:
        task = self._task(CONTENDERS["ours"], variant, first=False)
        several, _ = self._in_process("several seeds at once", ours.measure_several, task)
        if several is not None:
            self.found.several.append(several)
            together, one = short_seconds(several.all_seconds), short_seconds(several.one_seconds)
            self._say(f"  {several.runs} runs at once {together}, one alone {one}")

    def _in_process(self, name: str, piece: Callable[..., T], *arguments: Any) -> tuple[T | None, str | None]:
        """What a piece of work returns in a fresh process, or a sentence that says why it failed."""
        try:
            with ProcessPoolExecutor(1, mp_context=_context()) as pool:
                return pool.submit(piece, *arguments).result(), None
        except Exception as error:  # noqa: BLE001 - the others go on; this one's row says why it is empty
            self.found.failed = True
            trouble = f"{type(error).__name__}: {error}"
            self._say(f"  [red]{name} failed: {escape(trouble)}[/red]\n{escape(str(error.__cause__ or ''))}")
            return None, trouble

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)


def _context() -> Any:
    """Processes that do not inherit the parent's threads, with torch imported once for all where that is possible.

    torch._dynamo is what the first optimizer of a process imports, which takes seconds.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["headtohead.core.engine", "torch._dynamo", __name__])
    return context


# --- one turn, in a process of its own -------------------------------------------------------------------------


def take_turn(name: str, task: Task) -> Turn:
    """Start a contender and measure it."""
    turn = Turn(task.variant.label, name)
    running = CONTENDERS[name].start(task)
    running.follow(_events(task, running, turn))
    running.describe(turn, disk=task.first and CONTENDERS[name].timed)
    return turn


def _events(task: Task, running: Running, turn: Turn) -> Iterator[Event]:
    """Steps on the sample's batches and an evaluation, again and again; how long each took goes into the turn."""
    steps: list[list[float]] = [[] for _ in task.sample.batches]
    evaluations: list[float] = []
    started, count = time.perf_counter(), 0
    while not evaluations or time.perf_counter() - started < task.settings.least_seconds:
        for rows, seconds in zip(task.sample.batches, steps, strict=True):
            start = _now(task.device)
            yield Step(torch.tensor(rows), Moment(count, 0.0, 0))
            seconds.append(_now(task.device) - start)
            count += 1
            if count <= len(steps):
                turn.losses.append(running.loss())
        if not CONTENDERS[turn.contender].timed:
            return
        event = _evaluation(task, count)
        start = _now(task.device)
        yield event
        batches = sum(map(len, [*event.train, *event.validation])) / task.config.batch_size
        evaluations.append((_now(task.device) - start) / batches)
    # The median over repeats of each batch, then the mean over batches, which differ in length; the first warms up.
    turn.step_seconds = statistics.mean(map(statistics.median, steps[1:]))
    turn.evaluation_seconds = statistics.median(evaluations)
    turn.peak_memory_bytes = running.meter.peak_memory_bytes()
    if task.first:
        with flop_counter() as counter:
            for rows in task.sample.batches[1:]:
                yield Step(torch.tensor(rows), Moment(count, 0.0, 0))
                count += 1
        turn.operations = counter.get_total_flops() / len(task.sample.batches[1:])


def _evaluation(task: Task, count: int) -> Measure:
    parts = {
        name: torch.tensor(rows).split(task.config.batch_size) for name, rows in task.sample.evaluated.items()
    }
    return Measure("loss", list(parts["train"]), list(parts["validation"]), Moment(count, 0.0, 0))


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    return time.perf_counter()


# --- speed of the machine, and work of a step ------------------------------------------------------------------


def gemm_speed(device: str) -> float:
    """FLOP/s of the GEMM that sets the pace, fp32, by the fastest library there is: the median of ten calls."""
    rows, inner, columns = GEMM
    x, weight = torch.randn(rows, inner, device=device), torch.randn(columns, inner, device=device)
    medians = []
    for product in libraries(device):
        seconds = []
        for _ in range(12):
            start = _now(device)
            product(x, weight)
            seconds.append(_now(device) - start)
        medians.append(statistics.median(seconds[2:]))  # the first two calls warm up
    return 2.0 * math.prod(GEMM) / min(medians)


def libraries(device: str) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """The ways in which torch computes ``x W^T``: what it takes by itself, and oneDNN on a CPU that has it."""
    ways: list[Callable[[Tensor, Tensor], Tensor]] = [F.linear]
    if device == "cpu" and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        ways.append(lambda x, weight: torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], ""))
    return ways


def flop_counter() -> Any:
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
    if hasattr(torch.ops.mkldnn, "_linear_pointwise"):  # not every build of torch has it
        own[torch.ops.mkldnn._linear_pointwise] = linear
    return FlopCounterMode(display=False, custom_mapping=own)
