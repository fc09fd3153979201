"""Measuring all contenders in turn: what is compared was measured within the same minutes.

The machine may be shared and its speed may drift, so every round gives each contender a turn, in another order,
and ratios are taken within a round.
"""

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape

from headtohead.core.data import Dataset
from headtohead.core.engine.products import onednn_pays, product
from headtohead.core.strategy import Variant
from headtohead.core.training import TrainConfig
from headtohead.core.weights import Pretrained
from headtohead.experiments.benchmark.contender import Assignment, Contender, Facts
from headtohead.experiments.benchmark.contenders import missing
from headtohead.experiments.benchmark.groups import GroupTimes, run_groups
from headtohead.experiments.benchmark.work import Work, choose_sample, count_work, thin_out
from headtohead.experiments.benchmark.worker import Failed, Remote, Trial, run_contender
from headtohead.experiments.wording import short_seconds

GEMM = (960, 768, 3072)  # the largest product of a block of 124M: 8 messages of 120 tokens, D -> 4D


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: turns of every contender.
        timed_steps: different batches per turn.
        loss_steps: batches on which losses are compared.
        least_seconds: short turns are repeated up to this time.
        prefix_fraction: of the distinct messages, for the frozen prefix; 1 measures all of it, once.
        groups: whether several seeds at once are measured, too.
        heads: how many runs at once where only the head is trained.
    """

    device: str = "cpu"
    seed: int = 123
    rounds: int = 3
    timed_steps: int = 2
    loss_steps: int = 5
    least_seconds: float = 0.5
    prefix_fraction: float = 0.1
    groups: bool = True
    heads: int = 100

    @property
    def full(self) -> bool:
        """Whether the frozen prefix of every message is computed."""
        return self.prefix_fraction >= 1


@dataclass
class Measured:
    """One contender under one strategy; lists have one entry per round, times are seconds.

    Attributes:
        trouble: why it has no numbers, or not all; None where everything went well.
        steps: mean over the timed batches.
        evaluations: one forward-only batch.
        prefix, prefix_from_disk: of all messages; empty where nothing is computed once.
        losses: of the first batches.
    """

    contender: Contender
    strategy: str
    trouble: str | None = None
    facts: Facts | None = None
    steps: list[float] = field(default_factory=list)
    evaluations: list[float] = field(default_factory=list)
    prefix: list[float] = field(default_factory=list)
    prefix_from_disk: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    peak_memory_bytes: int | None = None
    operations: int | None = None


@dataclass
class Measurements:
    """Everything that one run of the benchmark measured."""

    rows: list[Measured] = field(default_factory=list)
    groups: list[GroupTimes] = field(default_factory=list)
    gemm: list[float] = field(default_factory=list)  # floating-point operations per second
    work: dict[str, Work] = field(default_factory=dict)  # by position


class TimeLeft:
    """Estimates the rest from how long the same kind of work took before."""

    def __init__(self, planned: Counter[str]) -> None:
        self._planned = planned
        self._took: dict[str, float] = {}

    def done(self, kind: str, seconds: float) -> None:
        """One piece of a kind is finished."""
        self._planned[kind] -= 1
        self._took[kind] = seconds

    def words(self) -> str:
        """``"about 3 min 20 s left"``."""
        if not self._took:
            return "time left not known yet"
        usual = statistics.mean(self._took.values())
        left = sum(max(count, 0) * self._took.get(kind, usual) for kind, count in self._planned.items())
        return f"about {short_seconds(round(left))} left" if left >= 1 else "almost done"


class Benchmark:
    """Measures contenders under strategies, one strategy after the other."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        pretrained: Pretrained,
        dataset: Dataset,
        config: TrainConfig,
        settings: Settings,
        console: Console,
    ) -> None:
        self.contenders = contenders
        self.pretrained = pretrained
        self.dataset = dataset
        self.settings = settings
        self.console = console
        self.configs = {position: replace(config, position=position) for position in _positions(contenders)}
        self.results = Measurements()
        self.results.work = {
            position: count_work(dataset, own, settings.seed) for position, own in self.configs.items()
        }
        # The same batches for both positions, so that their times can be compared.
        self.sample = choose_sample(
            dataset,
            next(iter(self.configs.values())),
            settings.seed,
            settings.loss_steps,
            settings.timed_steps,
        )
        self._scratch = tempfile.TemporaryDirectory(prefix="headtohead-benchmark-")

    def run(self, variants: Sequence[Variant]) -> Measurements:
        """Measure everything."""
        names = [contender.name for contender in self.contenders if missing(contender) is None]
        rounds = self.settings.rounds
        planned = Counter({f"start {name}": len(variants) for name in names})
        planned.update({f"turn {name}": rounds * len(variants) for name in names})
        self._left = TimeLeft(planned)
        with self._scratch:
            for variant in variants:
                self._measure(variant)
                if self.settings.groups:
                    self._measure_groups(variant)
        return self.results

    # --- one strategy ----------------------------------------------------------------------------------------

    def _measure(self, variant: Variant) -> None:
        self.console.print(f"\n[bold]{escape(variant.label)}[/bold]")
        rows = [Measured(contender, variant.label, missing(contender)) for contender in self.contenders]
        self.results.rows += rows
        remotes: dict[str, Remote] = {}
        try:
            trials = {}
            for row in rows:
                if row.trouble is None and (started := self._start(row, variant, remotes)):
                    trials[row.contender.name] = started
            live = [row for row in rows if row.contender.name in trials and row.contender.timed]
            for row in rows:
                if row not in live and row.contender.name in remotes:
                    remotes.pop(row.contender.name).stop()
            release = self._memory_is_short(live)
            for number in range(self.settings.rounds):
                self.results.gemm.append(gemm_speed(self.settings.device))
                turn = number % max(len(live), 1)
                for row in live[turn:] + live[:turn]:
                    trial = replace(trials[row.contender.name], release=release)
                    self._guarded(row, "turn", partial(self._turn, row, remotes, trial))
                self.console.print(
                    f"  round {number + 1} of {self.settings.rounds} done, {self._left.words()}"
                )
            for row in live:
                self._guarded(row, "count", partial(self._count, row, remotes))
        finally:
            for remote in remotes.values():
                remote.stop()

    def _guarded(self, row: Measured, kind: str, piece: Callable[[], Any]) -> Any:
        """Do a piece of work for a row that has no trouble so far; a failure becomes the row's."""
        if row.trouble is not None:
            return None
        start = time.perf_counter()
        try:
            result = piece()
        except Failed as error:
            row.trouble = str(error)
            self.console.print(f"  [red]{row.contender.name} failed: {escape(row.trouble)}[/red]")
            result = None
        self._left.done(f"{kind} {row.contender.name}", time.perf_counter() - start)
        return result

    def _start(self, row: Measured, variant: Variant, remotes: dict[str, Remote]) -> Trial | None:
        """Start a contender, compare its losses, and choose how often its turns repeat."""

        def piece() -> Trial:
            remote = Remote(
                run_contender, row.contender.name, self._assignment(row.contender, variant), self.sample
            )
            remotes[row.contender.name] = remote
            row.facts = remote.receive()
            answer = remote.ask("losses")
            row.losses = answer["losses"]
            row.peak_memory_bytes = answer["peak"]
            if row.peak_memory_bytes is not None:
                row.peak_memory_bytes += row.facts.prefix_missing_bytes
            return self._trial(answer["step"], answer["evaluation"])

        result = self._guarded(row, "start", piece)
        if row.losses:
            self.console.print(
                f"  {row.contender.name:21} ready, loss {row.losses[0]:.4f}, {self._left.words()}"
            )
        return result if isinstance(result, Trial) else None

    def _trial(self, step: float, evaluation: float) -> Trial:
        """Evaluate as many batches as the protocol does where that is quick, else one of each split."""
        batches = next(iter(self.configs.values())).evaluate_batches
        least = self.settings.least_seconds
        batches = batches if evaluation * batches < least else 1
        once = step * (1 + self.settings.timed_steps) + evaluation * batches
        return Trial(min(100, ceil(least / max(once, 1e-4))), batches, release=False)

    def _assignment(self, contender: Contender, variant: Variant) -> Assignment:
        config = self.configs[contender.position]
        thinned = None
        if not self.settings.full:
            thinned = thin_out(self.dataset, config, self.sample, self.settings.prefix_fraction)
        folder = Path(self._scratch.name) / f"{variant.name}-{contender.name}"
        return Assignment(
            variant,
            self.pretrained,
            self.dataset,
            thinned,
            config,
            self.settings.device,
            self.settings.seed,
            folder,
        )

    def _memory_is_short(self, rows: Sequence[Measured]) -> bool:
        """Whether all contenders at their peak would crowd the memory, so that each has to give back what it can."""
        if self.settings.device != "cpu":
            return False
        from headtohead.core.engine.prefix import available_memory

        return sum(row.peak_memory_bytes or 0 for row in rows) > 0.7 * available_memory()

    def _turn(self, row: Measured, remotes: dict[str, Remote], trial: Trial) -> None:
        remote, facts = remotes[row.contender.name], row.facts
        assert facts is not None
        if facts.cut:
            if self.settings.full and facts.prefix_seconds is not None:
                row.prefix.append(facts.prefix_seconds)
            else:
                row.prefix.append(remote.ask("prefix", False) * facts.prefix_scale)
            row.prefix_from_disk.append(remote.ask("prefix", True) * facts.prefix_scale)
        times = remote.ask("trial", trial)
        # The median over repeats of each batch, then the mean over batches, which differ in length.
        row.steps.append(
            statistics.mean(statistics.median(batch) for batch in zip(*times["steps"], strict=True))
        )
        row.evaluations.append(statistics.median(times["evaluations"]))
        prefix = f"prefix {short_seconds(row.prefix[-1])}, " if row.prefix else ""
        self.console.print(
            f"  {row.contender.name:21} {prefix}step {_milliseconds(row.steps[-1])}, "
            f"evaluation batch {_milliseconds(row.evaluations[-1])}"
        )

    def _count(self, row: Measured, remotes: dict[str, Remote]) -> None:
        row.operations = remotes[row.contender.name].ask("operations")

    # --- several seeds ---------------------------------------------------------------------------------------

    def _measure_groups(self, variant: Variant) -> None:
        """Only where the runs share something: there is none to share without a frozen prefix."""
        rows = [
            row for row in self.results.rows if row.strategy == variant.label and row.contender.name == "ours"
        ]
        if not any(row.facts and row.facts.cut for row in rows):
            return
        ours = rows[0].contender
        remote = Remote(run_groups, self._assignment(ours, variant), self.settings.heads)
        try:
            times = remote.receive()
        except Failed as error:
            self.console.print(f"  [red]several seeds at once failed: {escape(str(error))}[/red]")
            self.results.rows.append(Measured(ours, f"{variant.label}, several seeds", str(error)))
            return
        finally:
            remote.stop()
        self.results.groups.append(times)
        self.console.print(
            f"  {times.runs} runs at once {short_seconds(times.all_seconds)}, "
            f"one alone {short_seconds(times.one_seconds)}"
        )


def gemm_speed(device: str) -> float:
    """Floating-point operations per second of the GEMM that sets the pace, fp32, by the fastest library there is."""
    rows, inner, columns = GEMM
    x, weight = torch.randn(rows, inner, device=device), torch.randn(columns, inner, device=device)
    libraries = [False, True] if device == "cpu" and onednn_pays() else [False]
    seconds = min(_median_seconds(partial(product, x, weight, None, each), device) for each in libraries)
    return 2.0 * rows * inner * columns / seconds


def _median_seconds(piece: Callable[[], Any], device: str) -> float:
    """Of ten calls, after two that are not counted."""
    seconds = []
    for _ in range(12):
        start = time.perf_counter()
        piece()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[2:])


def _positions(contenders: Sequence[Contender]) -> list[Any]:
    return list(dict.fromkeys(contender.position for contender in contenders))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:,.2f} ms" if seconds < 0.1 else f"{1e3 * seconds:,.0f} ms"
