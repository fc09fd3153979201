"""What an experiment will take, before it begins: the work of its plans over this machine's speed.

Rough on purpose: said as a range, and used to choose how many seeds are worth their time.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.experiments.progress import FIXED_SECONDS, Work, work_of
from headtohead.experiments.spec.seeds import DEFAULT_SEED, FEW_SEEDS

if TYPE_CHECKING:
    from headtohead.core.engine import Engine
    from headtohead.core.strategy import Variant
    from headtohead.experiments.runs import Run

FEW_MINUTES = 600.0  # seconds within which several seeds are the default
BESIDE_PRODUCTS = 1.4  # norms, softmax, copies: what a pass takes over its matrix products alone
SPREAD = (0.6, 1.8)  # how far off the estimate was seen to be


@dataclass(frozen=True)
class Estimate:
    """Seconds, most likely between ``low`` and ``high``."""

    seconds: float

    @property
    def low(self) -> float:
        return SPREAD[0] * self.seconds

    @property
    def high(self) -> float:
        return SPREAD[1] * self.seconds


def choose_seeds(
    engine: "Engine", variants: Sequence["Variant"], asked: tuple[int, ...] | None
) -> tuple[int, ...]:
    """The seeds that were asked for; otherwise several where they take minutes, and one where they take longer."""
    if asked is not None:
        return asked
    several = _seconds(engine, [work_of(engine, [variant], {}) for variant in variants], len(FEW_SEEDS))
    return FEW_SEEDS if several <= FEW_MINUTES else (DEFAULT_SEED,)


def estimate_runs(engine: "Engine", runs: Sequence["Run"]) -> Estimate:
    """What these runs will take one after another, a frozen prefix that they share counted once."""
    return Estimate(_seconds(engine, [work_of(engine.of(run.part), [run.variant], {}) for run in runs]))


def _seconds(engine: "Engine", works: Sequence[Work], times: int = 1) -> float:
    pace = _seconds_per_pass(engine)
    shared = max((work.preparation for work in works), default=0.0)
    return pace * shared + times * sum(FIXED_SECONDS + pace * work.passes for work in works)


def _seconds_per_pass(engine: "Engine") -> float:
    """Seconds that one message takes forward through the model: its FLOPs at the speed of the largest product."""
    import torch

    config, device = engine.pretrained.config, engine.options.device
    D, length = config.emb_dim, engine.dataset.max_length
    left = torch.ones(engine.config.batch_size * length, D, device=device)
    right = torch.ones(D, 4 * D, device=device)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        float((left @ right)[0, 0])  # reading a value waits for the device
        times.append(time.perf_counter() - started)
    speed = 2.0 * left.numel() * right.shape[1] / min(times)
    # A block's products per token (Radford et al. 2019: qkv, projection, perceptron), and its attention.
    flops = config.n_layers * length * (24 * D**2 + 4 * length * D)
    return BESIDE_PRODUCTS * flops / speed
