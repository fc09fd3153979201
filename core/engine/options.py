"""What goes into the engine and what comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headtohead.core.engine.plan import ALL, REFERENCE, Plan
from headtohead.core.strategy import Variant
from headtohead.core.training import Evaluation, History, Progress

OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class EngineOptions:
    """Where and how to compute; none of it changes the protocol.

    Attributes:
        device: "cpu", "cuda", "cuda:N" or "mps".
        precision: "fp32", "tf32" or "bf16"; only fp32 claims the book's numbers.
        half_prefix: with "bf16" on a CPU, what is frozen is computed in bfloat16, too.
        allowed: what plans may do; ``REFERENCE`` switches everything off.
        cache_dir: where hidden states of frozen stages are kept for later processes; None for this one only.
        cache_budget: bytes of hidden states that may be kept in memory; None for half of what is available.
        compile: the engine's blocks go through torch.compile.
        together: several seeds of a strategy may run at once where that is exact.
        recompute: blocks are computed again in the backward pass instead of kept (recompute.py).
        spread: runs of a small model go one per core, even where they share nothing, so no time is of a run alone.
        stands_for: the options of engines elsewhere, for which one with these options plans; None where it runs
            itself.
    """

    device: str = "cpu"
    precision: str = "fp32"
    half_prefix: bool = False
    allowed: Plan = ALL
    cache_dir: Path | None = None
    cache_budget: int | None = None
    compile: bool = False
    together: bool = True
    recompute: bool = False
    spread: bool = False
    stands_for: "EngineOptions | None" = None

    @property
    def reference(self) -> bool:
        """Whether everything is computed as the chapter does."""
        return self.allowed == REFERENCE


@dataclass(frozen=True)
class Part:
    """What a run gets of the data set and of the protocol; all of both by default.

    Attributes:
        split: a name of ``core.other_splits``; None for the data set's own split.
        train_size: that many training messages, as ``core.sample`` takes them; None for all.
        epochs: None for the protocol's.
        test: False for a trial, which never meets the test messages and leaves no classifier.
    """

    split: str | None = None
    train_size: int | None = None
    epochs: int | None = None
    test: bool = True


WHOLE = Part()


@dataclass(frozen=True)
class Job:
    """One run to be done: a variant with a seed, where its classifier goes, and what it gets of the data."""

    variant: Variant
    seed: int
    directory: Path
    part: Part = WHOLE


@dataclass(frozen=True)
class Outcome:
    """Everything that one finished run measured; times in seconds, memory and sizes in bytes.

    ``test`` is of the classifier that was reloaded from disk, and None for a trial. ``classifier_bytes`` is None for
    a trial and for a baseline, which leave no classifier. ``memory_above_model_bytes`` is what training needs beside
    the loaded model.
    ``selection_seconds`` is what a baseline took to choose its settings, which is not in ``train_seconds``.
    ``train_joules``: the energy of training by the machine's counters; None where it has none, and for grouped runs.
    ``language_loss_*``: of the model with its pretrained head on a plain text, in nats per token (forgetting.py).
    ``grouped``: timed together with other runs, so times are shares of the group's.
    """

    history: History
    train: Evaluation
    validation: Evaluation
    test: Evaluation | None
    trainable_params: int
    total_params: int
    classifier_bytes: int | None
    plan: dict[str, Any]
    setup_seconds: float
    prefix_seconds: float | None
    train_seconds: float
    eval_seconds: float
    peak_memory_bytes: int | None
    memory_above_model_bytes: int | None = None
    selection_seconds: float | None = None
    before: dict[str, float] = field(default_factory=dict)  # split -> accuracy before the first step
    warnings: list[str] = field(default_factory=list)
    grouped: bool = False
    train_joules: float | None = None
    language_loss_before: float | None = None
    language_loss_after: float | None = None

    @property
    def total_seconds(self) -> float:
        """What the run costs alone: a prefix that several runs share is charged to each of them."""
        before = self.setup_seconds + (self.prefix_seconds or 0.0) + (self.selection_seconds or 0.0)
        return before + self.train_seconds + self.eval_seconds
