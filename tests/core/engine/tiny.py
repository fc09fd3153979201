"""Whole runs on the smallest model that has blocks, for tests of what a protocol's settings do."""

from pathlib import Path

from headtohead import strategies
from headtohead.core.config import GPTConfig
from headtohead.core.engine import Engine, EngineOptions, Outcome
from headtohead.core.training import TrainConfig
from tests import small

TINY = GPTConfig(context_length=32, emb_dim=16, n_layers=2, n_heads=2)
CONFIG = TrainConfig(epochs=1, evaluate_every=3, evaluate_batches=2)


def engine_of(config: TrainConfig, **options) -> Engine:
    return Engine(small.pretrained(TINY), small.dataset(48, 16), config, EngineOptions(**options))


def run(label: str, config: TrainConfig, folder: Path, **options) -> Outcome:
    (variant,) = strategies.build_variants([label])
    return engine_of(config, **options).fit(variant, 123, folder / "classifier")
