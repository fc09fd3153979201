"""What every contender of the benchmark has in common, and what it is given."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from headtohead.core.data import Dataset
from headtohead.core.strategy import Variant
from headtohead.core.training import Event, TrainConfig
from headtohead.core.weights import Pretrained


@dataclass(frozen=True)
class Assignment:
    """What a contender is to train: everything is the same for all of them, but ``config.position``.

    Attributes:
        thinned: the data set with fewer distinct messages, for a contender that computes a prefix of each; None
            where everything is to be measured in full.
        folder: scratch space of its own.
    """

    variant: Variant
    pretrained: Pretrained
    dataset: Dataset
    thinned: Dataset | None
    config: TrainConfig
    device: str
    seed: int
    folder: Path


@dataclass
class Facts:
    """What a contender says of itself once it is ready.

    Attributes:
        trainable_params: how many numbers it trains.
        same_model: why its losses cannot be compared with the others' losses; None where they can.
        words: how it computes, a sentence each.
        evaluates_once: each distinct message is evaluated once between two steps.
        cut: stages computed once per distinct message.
        prefix_seconds: what that took, for the messages it was given.
        prefix_scale: all distinct messages over those it was given, in tokens.
        prefix_missing_bytes: how much larger the kept hidden states of all messages are.
    """

    trainable_params: int
    same_model: str | None = None
    words: list[str] = field(default_factory=list)
    evaluates_once: bool = False
    cut: int = 0
    prefix_seconds: float | None = None
    prefix_scale: float = 1.0
    prefix_missing_bytes: int = 0


class Running(Protocol):
    """A contender with its model and optimizer in place."""

    facts: Facts

    def follow(self, events: Iterable[Event]) -> None:
        """Train and evaluate as the events say; each is done when the next one is asked for."""

    def loss(self) -> float:
        """The loss of the latest step."""

    def rest(self) -> None:
        """Give back the gradients' memory until the next step."""

    def prefix_seconds(self, from_disk: bool) -> float:
        """Compute the frozen prefix of the given messages again, or read it from disk, as a new process would."""

    def peak_memory_bytes(self) -> int | None:
        """The most memory in use so far."""


@dataclass(frozen=True)
class Contender:
    """One row of the benchmark.

    Attributes:
        name: as in ``--contenders`` and in the results.
        title: in tables and plots.
        position: the protocol it follows; every ``last_real`` contender answers another question than ``last``.
        start: makes it ready.
        packages: what it needs beyond the project's own requirements, as pip calls it -> as Python imports it.
        timed: False for one that only gives losses to compare with.
    """

    name: str
    title: str
    position: Literal["last", "last_real"]
    start: Callable[[Assignment], Running]
    packages: dict[str, str] = field(default_factory=dict)
    timed: bool = True
