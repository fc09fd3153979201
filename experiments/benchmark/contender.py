"""What a contender of the benchmark is given, what it must be able to do, and what one turn of it measures."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from headtohead.core.data import Dataset
from headtohead.core.engine.meter import Meter
from headtohead.core.readout import ReadoutName
from headtohead.core.strategy import Variant
from headtohead.core.training import Event, TrainConfig
from headtohead.core.weights import Pretrained
from headtohead.experiments.benchmark.inputs import Sample


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: turns of every contender.
        loss_steps: steps of a turn, on which losses are compared and whose time is taken.
        least_seconds: short turns are repeated up to this time.
        prefix_fraction: of the messages, for the frozen prefix.
        heads: how many runs at once where only the head is trained.
    """

    device: str = "cpu"
    seed: int = 123
    rounds: int = 3
    loss_steps: int = 5
    least_seconds: float = 0.5
    prefix_fraction: float = 0.1
    heads: int = 100


@dataclass(frozen=True)
class Task:
    """What is to be trained: everything is the same for all contenders, but ``config.position``.

    Attributes:
        thinned: the data set with fewer distinct messages, for whoever computes something once of each.
        folder: scratch space.
        first: this turn also measures what is the same in every round: FLOPs, and the prefix read from disk.
    """

    variant: Variant
    pretrained: Pretrained
    dataset: Dataset
    thinned: Dataset
    sample: Sample
    config: TrainConfig
    settings: Settings
    folder: Path
    first: bool = False

    @property
    def device(self) -> str:
        """Where to compute."""
        return self.settings.device


@dataclass
class Turn:
    """What one contender measured in one round; None and empty: unknown, or does not apply.

    Attributes:
        trouble: why there are no numbers.
        not_compared: why its losses cannot be held against the others'.
        evaluates_once: each distinct message is evaluated once between two steps.
        losses: of the sample's batches, each before the step on it.
        step_seconds: mean over the timed batches.
        evaluation_seconds: one forward-only batch.
        prefix_seconds, from_disk_seconds: of the frozen prefix of all messages, computed and read.
        prefix_operations, operations: FLOPs of that prefix, and of the matrix products of a mean step.
        peak_memory_bytes: of its process, or allocated on the GPU.
        gemm_speed: FLOP/s of one large product, measured at the beginning of the round.
    """

    strategy: str
    contender: str
    round: int = 0
    trouble: str | None = None
    not_compared: str | None = None
    trainable_params: int | None = None
    evaluates_once: bool = False
    losses: list[float] = field(default_factory=list)
    step_seconds: float | None = None
    evaluation_seconds: float | None = None
    prefix_seconds: float | None = None
    from_disk_seconds: float | None = None
    prefix_operations: float | None = None
    operations: float | None = None
    peak_memory_bytes: float | None = None
    gemm_speed: float | None = None


class Running(Protocol):
    """A contender with its model in place; peak memory is counted from where ``meter`` was made."""

    meter: Meter

    def follow(self, events: Iterable[Event]) -> None:
        """Train and evaluate as the events say; each is done when the next one is asked for."""

    def loss(self) -> float:
        """The loss of the latest step."""

    def describe(self, turn: Turn, disk: bool) -> None:
        """Fill in what it knows of itself after training; with its prefix's time from disk, where asked for."""


@dataclass(frozen=True)
class Contender:
    """One row of the benchmark.

    Attributes:
        name: as in ``--contenders`` and in the results.
        title: in tables and plots.
        position: the protocol it follows; ``last_real`` answers another question than ``last``.
        start: makes it ready.
        packages: what it needs beyond the project's own requirements: Python's name -> how it is installed.
        timed: False for one that only gives losses to compare with.
    """

    name: str
    title: str
    position: ReadoutName
    start: Callable[[Task], Running]
    packages: dict[str, str] = field(default_factory=dict)
    timed: bool = True
