"""What an experiment will take, before it begins: counted work over the speed of this machine's matrix products.

Rough on purpose: said as a range, and used to choose how many seeds are worth their time.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.experiments.spec import DEFAULT_SEED, FEW_SEEDS

if TYPE_CHECKING:
    from headtohead.core.engine import Engine
    from headtohead.core.strategy import Variant
    from headtohead.experiments.runs import Run

FEW_MINUTES = 600.0  # seconds within which several seeds are the default
BESIDE_PRODUCTS = 1.4  # norms, softmax, copies: what a step takes over its products alone
BYTES_PER_PARAMETER = 28  # read and written by AdamW: weight, gradient, two moments
MEMORY_SPEED = 1e10  # bytes per second, of an ordinary machine
PER_RUN = 0.6  # seconds to build, save, reload
SPREAD = (0.6, 1.8)  # of the estimate; how far off it was seen to be


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
    several = _seconds(engine, [(variant, len(FEW_SEEDS)) for variant in variants])
    return FEW_SEEDS if several <= FEW_MINUTES else (DEFAULT_SEED,)


def estimate_runs(engine: "Engine", runs: Sequence["Run"]) -> Estimate:
    """What these runs will take, a frozen prefix that they share counted once."""
    counts: dict[str, tuple[Variant, int]] = {}
    for run in runs:
        counts[run.variant.label] = (run.variant, counts.get(run.variant.label, (run.variant, 0))[1] + 1)
    return Estimate(_seconds(engine, list(counts.values())))


def _seconds(engine: "Engine", wanted: Sequence[tuple["Variant", int]]) -> float:
    speed = _product_speed(engine)
    work = _Work(engine)
    total = max((work.prefix_flops(variant) for variant, _ in wanted), default=0.0) / speed
    for variant, runs in wanted:
        seconds = work.run_flops(variant) * BESIDE_PRODUCTS / speed + work.update_seconds(variant)
        total += runs * (seconds + PER_RUN)
    return total


def _product_speed(engine: "Engine") -> float:
    """FLOP per second of the model's largest product over one batch, measured in some milliseconds."""
    import torch

    D, device = engine.pretrained.config.emb_dim, engine.options.device
    tokens = engine.config.batch_size * engine.dataset.max_length
    left, right = torch.ones(tokens, D, device=device), torch.ones(D, 4 * D, device=device)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        float((left @ right)[0, 0])  # reading a value waits for the device
        times.append(time.perf_counter() - started)
    return 2.0 * left.numel() * right.shape[1] / min(times)


class _Work:
    """FLOPs of the parts of a run, in closed form."""

    def __init__(self, engine: "Engine") -> None:
        self.engine = engine
        config, dataset = engine.pretrained.config, engine.dataset
        self.blocks = config.n_layers
        per_token = 24 * config.emb_dim**2 + 4 * dataset.max_length * config.emb_dim
        self.block = float(per_token * dataset.max_length)  # of one message through one block
        train, batch = len(dataset.train), engine.config.batch_size
        self.steps = engine.config.epochs * (train // batch)
        measured = 2 * engine.config.evaluate_batches * batch
        moments = self.steps // engine.config.evaluate_every + 1 + engine.config.epochs
        self.evaluated = moments * measured + train + len(dataset.validation) + len(dataset.test)

    def prefix_flops(self, variant: "Variant") -> float:
        """What is computed once for all runs."""
        cut = self._cut(variant)
        return len(self.engine.sequences) * self.block * min(max(cut - 1, 0), self.blocks)

    def run_flops(self, variant: "Variant") -> float:
        """The steps and the evaluations of one run behind what is computed once."""
        behind = max(self.blocks + 1 - max(self._cut(variant), 1), 0)
        # Gradients cost as much as the forward for what flows back, and again for weights that are trained.
        share = min(1.0, (self._trained(variant) or 0) / (12 * behind * self._dims() ** 2 or 1))
        return (
            (self.steps * self.engine.config.batch_size * (2 + share) + self.evaluated) * behind * self.block
        )

    def update_seconds(self, variant: "Variant") -> float:
        """The optimizer's."""
        return self.steps * (self._trained(variant) or 0) * BYTES_PER_PARAMETER / MEMORY_SPEED

    def _cut(self, variant: "Variant") -> int:
        seen = self._seen(variant)
        return seen.cut if seen is not None else 0

    def _trained(self, variant: "Variant") -> int | None:
        seen = self._seen(variant)
        return seen.trainable_params if seen is not None else None

    def _seen(self, variant: "Variant"):  # type: ignore[no-untyped-def]  # the engine's Inspection
        try:
            return self.engine.inspect(variant)
        except Exception:  # noqa: BLE001 - its runs will fail with the same error and be recorded so
            return None

    def _dims(self) -> int:
        return self.engine.pretrained.config.emb_dim
