"""How much memory a run will need, said before anything is loaded, and refused where the device has less.

Counted in numbers of 4 bytes, for P parameters of which t train, in batches of n tokens of D dims:
  weights      P, and P again for the classifier that is read back from disk at the end
  gradients    t
  optimizer    2 t, AdamW's two moments
  activations  INSIDE n D of every block from the first that trains on; with checkpointing n D of each and one inside
  kept         one hidden state of every token of the data in front of the first block that trains
Shapes: n tokens of a batch, D dims, L blocks.
"""

import math
from dataclasses import dataclass

from headtohead.core.config import GPTConfig
from headtohead.core.engine.prefix import available_memory
from headtohead.core.errors import InputError
from headtohead.core.strategy import Counts, Strategy
from headtohead.core.weights.pretrained import parameter_shapes

BYTES = 4
# Hidden states of width D that a block keeps for its backward pass: inputs and outputs of two norms (4), queries, keys,
# values (3), their mix and its projection (2), the perceptron's 4 D before and after its activation (8).
INSIDE = 17
GIB = 2**30


@dataclass(frozen=True)
class Need:
    """Bytes that a run takes at most, roughly."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    kept: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.kept

    @property
    def words(self) -> str:
        """What makes it up."""
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            "activations": self.activations,
            "what is computed once": self.kept,
        }
        return ", ".join(f"{name} {gib(size)}" for name, size in parts.items() if size >= GIB / 20)


@dataclass(frozen=True)
class Load:
    """What a run works on.

    Attributes:
        batch_tokens: tokens of a batch that are in memory at once, padding included.
        all_tokens: tokens of all messages that are computed once.
        keeps: hidden states may be computed once and kept.
        recompute: with activation checkpointing.
        budget: bytes that may be kept in memory at most; beyond it a file takes them.
    """

    batch_tokens: int
    all_tokens: int
    keeps: bool = True
    recompute: bool = False
    budget: int | None = None


def parameter_count(config: GPTConfig) -> int:
    """How many numbers a pretrained model of that shape holds, its tied head counted once."""
    return sum(math.prod(shape) for shape in parameter_shapes(config).values())


def need_of(strategy: Strategy, config: GPTConfig, n_classes: int, load: Load) -> Need:
    """What a run of a strategy takes at most, from its closed-form counts."""
    counts = strategy.all_counts(config, n_classes)
    parameters = parameter_count(config)
    # Without counts something small was inserted, nobody knows where.
    trained = parameters // 50 if counts is None else sum(counts.values())
    first = 0 if counts is None else first_trained(counts, config.n_layers)
    hidden = load.batch_tokens * config.emb_dim
    blocks = config.n_layers - first
    inside = (blocks + INSIDE if blocks else 0) if load.recompute else INSIDE * blocks
    kept = load.all_tokens * config.emb_dim * BYTES if load.keeps and 0 < first < config.n_layers else 0
    budget = available_memory() // 2 if load.budget is None else load.budget
    return Need(
        weights=2 * BYTES * parameters,
        gradients=BYTES * trained,
        optimizer=2 * BYTES * trained,
        activations=BYTES * hidden * inside,
        kept=0 if kept > budget else kept,
    )


def first_trained(counts: Counts, n_layers: int) -> int:
    """The first block that trains; ``n_layers`` where none does."""
    if {"tok_emb", "pos_emb"} & counts.keys():
        return 0
    return min((part for part in counts if isinstance(part, int)), default=n_layers)


def free_memory(device: str) -> int | None:
    """Bytes that are free on a device now; None where that is not known."""
    if device == "cpu":
        return available_memory()
    if device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    return None


def check_weights(name: str, config: GPTConfig, device: str) -> None:
    """Refuse a model whose weights alone are more than the device has, before they are downloaded or read.

    Raises:
        InputError: with the numbers.
    """
    free, need = free_memory(device), BYTES * parameter_count(config)
    if free is not None and need > free:
        raise InputError(
            f"the weights of {name} alone take {gib(need)}, but {device} has {gib(free)} free; take a smaller model "
            "or a larger device"
        )


def check_need(label: str, need: Need, device: str) -> None:
    """Refuse a run that needs more than the device has.

    Raises:
        InputError: with the numbers, and what would lower them.
    """
    free = free_memory(device)
    if free is not None and need.total > free:
        raise InputError(
            f"{label} needs about {gib(need.total)} ({need.words}), but {device} has {gib(free)} free; take a smaller "
            "model, train less of it, or lower the activations by --checkpoint-activations, a smaller --batch-size "
            "with --accumulation-steps, or --max-length"
        )


def gib(size: int) -> str:
    """``"1.5 GiB"``."""
    return f"{size / GIB:,.1f} GiB"
