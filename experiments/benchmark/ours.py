"""The engine as a contender: prefix, steps and evaluations as a run of the product does them, by the same calls."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.config import GPTConfig
from headtohead.core.engine import Engine, EngineOptions, Job, fit_group, groups
from headtohead.core.engine.fit import prepare_run, train_run
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import Event, Forward, Progress, SplitName
from headtohead.experiments.benchmark.contender import Task, Turn

SIDE_BY_SIDE = 4  # runs at once of a strategy that trains more than the head
LEARNING_RATES = 10  # of heads, times seeds


class EngineRun:
    """One run of the engine, prepared; a frozen prefix is computed over the thinned messages."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.engine, self.scale = _engine(task)
        self.run = prepare_run(self.engine, Job(task.variant, task.settings.seed, task.folder), _ignore)
        self.meter = self.run.meter
        # Not a hook: the engine looks for those, and takes the reference path where it did not expect one.
        self._watched = self.run.forward = _Watched(self.run.forward)

    def follow(self, events: Iterable[Event]) -> None:
        train_run(self.engine, self.run, events, _ignore)

    def loss(self) -> float:
        return self._watched.loss()

    def describe(self, turn: Turn, disk: bool) -> None:
        turn.trainable_params = self.run.trainable_params
        turn.evaluates_once = self.run.forward.evaluation_rows is not None
        seen, stored = self.engine.inspect(self.task.variant), self.run.stored
        if stored is None:
            return
        turn.prefix_seconds = self.scale * stored.seconds
        operations = prefix_operations(
            self.task.pretrained.config, seen.cut, self.engine.sequences.lengths.tolist()
        )
        turn.prefix_operations = self.scale * operations
        if turn.peak_memory_bytes is not None:  # as if the hidden states of all messages were kept
            turn.peak_memory_bytes += (self.scale - 1) * stored.hidden.nbytes
        if disk:
            turn.from_disk_seconds = self.scale * self._from_disk_seconds()

    def _from_disk_seconds(self) -> float:
        """Seconds in which a second engine reads what a first one has left in a cache folder."""
        for _ in range(2):
            engine, _ = _engine(self.task, cache_dir=self.task.folder / "prefix")
            stored = prepare_run(
                engine, Job(self.task.variant, self.task.settings.seed, self.task.folder), _ignore
            ).stored
        assert stored is not None
        return stored.seconds


class _Watched:
    """A Forward that remembers the logits of the latest step, so that its loss can be read."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self._latest: tuple[Tensor, Tensor] | None = None
        self.evaluation_rows = forward.evaluation_rows
        self.labels, self.parameters_changed = forward.labels, forward.parameters_changed

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        logits = self._forward.logits(split, rows)
        if torch.is_grad_enabled():
            self._latest = logits.detach(), rows
        return logits

    def loss(self) -> float:
        """The cross-entropy of the latest step."""
        assert self._latest is not None
        logits, rows = self._latest
        return float(F.cross_entropy(logits.float(), self.labels("train", rows)))


def start(task: Task) -> EngineRun:
    """The engine as it is by default."""
    return EngineRun(task)


def _engine(task: Task, cache_dir: Path | None = None) -> tuple[Engine, float]:
    """An engine for the task, over the thinned messages where it computes something once of each.

    The other value: all distinct messages over those it was given, in tokens.
    """
    options = EngineOptions(task.device, cache_dir=cache_dir)
    whole = Engine(task.pretrained, task.dataset, task.config, options)
    if not whole.inspect(task.variant).cut:
        return whole, 1.0
    thinned = Engine(task.pretrained, task.thinned, task.config, options)
    return thinned, float(whole.sequences.lengths.sum() / thinned.sequences.lengths.sum())


def prefix_operations(config: GPTConfig, cut: int, lengths: Sequence[int]) -> int:
    """FLOPs of the frozen blocks' matrix products over messages of these lengths.

    A frozen last block, which only the tokens that a class is read from go through, is not counted.

    Args:
        cut: stages computed once: the embeddings, then the blocks.
    """
    blocks, D = min(cut, config.n_layers) - 1, config.emb_dim
    linear = 2 * 12 * D**2 * sum(lengths)  # queries, keys, values and their output D -> D, then D -> 4D -> D
    attention = 4 * D * sum(length**2 for length in lengths)  # as torch counts it: as if it were not causal
    return blocks * (linear + attention)


# --- several runs at once --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Several:
    """Seconds of one run alone and of several at once, the prefix and the saved classifiers included."""

    strategy: str
    runs: int
    one_seconds: float
    all_seconds: float

    @property
    def cost(self) -> float:
        """What all runs cost in units of one."""
        return self.all_seconds / self.one_seconds


def measure_several(task: Task) -> Several | None:
    """Several seeds (of a head, times ten learning rates) at once against one; None where they share no prefix."""
    engine, scale = _engine(task)
    seen = engine.inspect(task.variant)
    if not seen.cut:
        return None
    jobs = (
        _jobs(task, task.settings.heads, LEARNING_RATES) if seen.only_head else _jobs(task, SIDE_BY_SIDE, 1)
    )
    first = engine.fit(task.variant, task.settings.seed, task.folder / "first")  # leaves the prefix in memory
    prefix = scale * (first.prefix_seconds or 0.0)
    one, several = _seconds(engine, jobs[:1]), _seconds(engine, jobs)
    return Several(task.variant.label, len(jobs), prefix + one, prefix + several)


def _jobs(task: Task, runs: int, learning_rates: int) -> list[Job]:
    """Seeds times learning rates, every run with a folder of its own."""
    return [
        Job(
            _with_learning_rate(task.variant, 2.0 ** (number % learning_rates)),
            task.settings.seed + number // learning_rates,
            task.folder / f"run-{number}",
        )
        for number in range(runs)
    ]


def _with_learning_rate(variant: Variant, factor: float) -> Variant:
    assert isinstance(variant.strategy, Strategy)
    rate = variant.strategy.learning_rate * factor
    label = variant.label if factor == 1 else f"{variant.name}@learning_rate={rate:g}"
    return replace(variant, label=label, strategy=replace(variant.strategy, learning_rate=rate))


def _seconds(engine: Engine, jobs: Sequence[Job]) -> float:
    """Wall time of the jobs in the engine's own groups."""
    start = time.perf_counter()
    for group in groups(engine, jobs):
        for _, outcome in fit_group(engine, group, _ignore):
            if isinstance(outcome, Exception):
                raise outcome
    return time.perf_counter() - start


def _ignore(progress: Progress) -> None:
    """Nobody looks at the engine's own progress here."""
