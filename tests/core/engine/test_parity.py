"""Every way of computing less gives the numbers of the reference path: losses to 1e-4, accuracies equal."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from headtohead import strategies
from headtohead.core.device import bf16_units
from headtohead.core.engine import Engine, EngineOptions, Outcome
from headtohead.core.engine.plan import ALL, REFERENCE, Plan
from headtohead.core.errors import InputError
from headtohead.core.training import TrainConfig
from tests import small

PLANS = {
    "all": ALL,
    "no prefix": replace(ALL, cut=0),
    "all tokens of the last block": replace(ALL, last_position=False),
    "keys and values": replace(ALL, associative=False),
    "not merged": replace(ALL, merged=False),
    "plain AdamW": replace(ALL, fused_optimizer=False),
    "whole embedding": replace(ALL, compact_embedding=False),
    "own modules": replace(ALL, restructured=False),
}
LABELS = ["head", "last_block", "all_layers", "lora", "lora@r=2+alpha=8"]
CONFIG = TrainConfig(epochs=2, evaluate_every=4, evaluate_batches=2)


def run(label: str, plan: Plan, config: TrainConfig, folder: Path, seed: int = 123) -> Outcome:
    (variant,) = strategies.build_variants([label])
    engine = Engine(small.pretrained(), small.dataset(), config, EngineOptions(allowed=plan))
    return engine.fit(variant, seed, folder / "classifier")


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Outcome]:
    return {
        (label, position): run(
            label, REFERENCE, replace(CONFIG, position=position), tmp_path_factory.mktemp("run")
        )
        for label in LABELS
        for position in ("last", "last_real")
    }


def assert_same_numbers(first: Outcome, second: Outcome) -> None:
    assert len(first.history.rows) == len(second.history.rows) > 4
    for left, right in zip(first.history.rows, second.history.rows, strict=True):
        assert (left.step, left.examples_seen) == (right.step, right.examples_seen)
        for name in ("train_loss", "validation_loss"):
            assert getattr(left, name) == pytest.approx(getattr(right, name), abs=1e-4), (left.step, name)
        for name in ("train_accuracy", "validation_accuracy"):
            assert getattr(left, name) == getattr(right, name), (left.step, name)
    for name in ("train", "validation", "test"):
        assert getattr(first, name).accuracy == getattr(second, name).accuracy
        assert getattr(first, name).loss == pytest.approx(getattr(second, name).loss, abs=1e-4)
    assert (first.test.logits - second.test.logits).abs().max() < 1e-3


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("label", LABELS)
def test_plan_agrees_with_reference(
    label: str,
    plan: str,
    position: Literal["last", "last_real"],
    references: dict[tuple[str, str], Outcome],
    tmp_path: Path,
) -> None:
    fast = run(label, PLANS[plan], replace(CONFIG, position=position), tmp_path)
    assert_same_numbers(fast, references[label, position])


@pytest.mark.skipif(bf16_units() is None, reason="this processor has no units for bfloat16")
@pytest.mark.parametrize("label", ["last_block", "lora"])
def test_bfloat16_is_close_but_not_the_same(
    label: str, references: dict[tuple[str, str], Outcome], tmp_path: Path
) -> None:
    (variant,) = strategies.build_variants([label])
    engine = Engine(small.pretrained(), small.dataset(), CONFIG, EngineOptions(precision="bf16"))
    rows = engine.fit(variant, 123, tmp_path / "classifier").history.rows
    differences = [
        abs(row.train_loss - expected.train_loss)
        for row, expected in zip(rows, references[label, "last"].history.rows, strict=True)
        if row.train_loss is not None and expected.train_loss is not None
    ]
    assert 1e-6 < max(differences) < 0.1


def test_tf32_needs_cuda() -> None:
    with pytest.raises(InputError, match="tf32 needs a CUDA device"):
        Engine(small.pretrained(), small.dataset(), CONFIG, EngineOptions(precision="tf32"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about its own imports and what it traces
def test_compiled_blocks_agree_with_reference(
    references: dict[tuple[str, str], Outcome], tmp_path: Path
) -> None:
    (variant,) = strategies.build_variants(["lora"])
    engine = Engine(small.pretrained(), small.dataset(), CONFIG, EngineOptions(compile=True))
    assert_same_numbers(engine.fit(variant, 123, tmp_path / "classifier"), references["lora", "last"])
