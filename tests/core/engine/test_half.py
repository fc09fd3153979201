"""Linear layers in bfloat16: the numbers of float32 up to its rounding, copies made when they have to be."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from headtohead import strategies
from headtohead.core import device
from headtohead.core.engine import Engine, EngineOptions
from headtohead.core.engine.half import HalfInput
from headtohead.core.errors import InputError
from headtohead.core.strategy import LowRank
from headtohead.core.training import TrainConfig
from tests import small

HALF = EngineOptions(precision="bf16")
ROUNDING = 0.02  # of the largest number: 8 bits of mantissa, some hundred summands
needs_units = pytest.mark.skipif(device.bf16_units() is None, reason="no units for bfloat16 here")


def layers(trained: bool) -> tuple[list[nn.Module], dict[nn.Module, LowRank]]:
    """Three layers with one input; two of them with a low-rank update."""
    torch.manual_seed(0)
    bases = [nn.Linear(64, width) for width in (64, 32, 96)]
    for base in bases:
        base.requires_grad_(trained)
    updates: dict[nn.Module, LowRank] = {}
    for base, rank in zip(bases[:2], (4, 8), strict=True):
        down = nn.Parameter(torch.randn(rank, 64))
        updates[base] = LowRank(base, down, nn.Parameter(torch.randn(base.out_features, rank)), 0.5)
    return list(bases), {} if trained else updates


def plain(modules: list[nn.Module], updates: dict[nn.Module, LowRank], x: Tensor) -> list[Tensor]:
    found = []
    for module in modules:
        y = module(x)
        if module in updates:
            update = updates[module]
            y = y + update.scale * (x @ update.down.T) @ update.up.T
        found.append(y)
    return found


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    largest = float(theirs.detach().abs().max())
    assert float((ours.detach().float() - theirs.detach()).abs().max()) < ROUNDING * largest


@pytest.mark.parametrize("trained", [True, False])
def test_products_and_gradients_are_those_of_float32(trained: bool) -> None:
    modules, updates = layers(trained)
    x = torch.randn(40, 64, requires_grad=True)
    inputs = [x, *(each for update in updates.values() for each in (update.down, update.up))]
    inputs += [each for module in modules for each in module.parameters() if each.requires_grad]
    expected = plain(modules, updates, x)
    together = HalfInput(modules, updates)
    found = together(x)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.bfloat16
        assert_close(ours, theirs)
    assert_close(together.one(modules[1], x), expected[1])
    own_gradients = torch.autograd.grad(sum(each.float().sin().sum() for each in found), inputs)  # type: ignore[arg-type]
    gradients = torch.autograd.grad(sum(each.sin().sum() for each in expected), inputs)  # type: ignore[arg-type]
    for gradient, other in zip(own_gradients, gradients, strict=True):
        assert gradient.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(gradient.flatten(), other.flatten(), 0) > 0.99


def test_copies_are_made_once_a_step_and_frozen_ones_once() -> None:
    modules, updates = layers(trained=False)
    frozen, base = HalfInput(modules, updates), modules[2]
    assert isinstance(base, nn.Linear)
    x = torch.randn(4, 64)
    before = frozen(x)
    copy = next(iter(frozen._joined.values())).copy
    address = copy.data_ptr()
    with torch.no_grad():
        next(iter(updates.values())).up.mul_(2.0)
    assert all(map(torch.equal, frozen(x), before))  # nobody has said that a step was done
    frozen.parameters_changed()
    after = frozen(x)
    assert not torch.equal(after[0], before[0]) and torch.equal(after[2], before[2])
    with torch.no_grad():
        base.weight.zero_()  # frozen, but written to
    assert float(frozen(x)[2].detach().float().abs().max()) <= float(base.bias.detach().abs().max()) * 1.01
    assert next(iter(frozen._joined.values())).copy.data_ptr() == address


@needs_units
@pytest.mark.parametrize("label", ["all_layers", "lora@r=2", "dora", "last_block"])
@pytest.mark.slow
def test_runs_stay_close_to_float32(label: str, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants([label])
    outcomes = []
    for options in (EngineOptions(), HALF, replace(HALF, half_prefix=True)):
        engine = Engine(small.pretrained(), small.dataset(), TrainConfig(epochs=1), options)
        outcomes.append(engine.fit(variant, 123, tmp_path / options.precision / str(options.half_prefix)))
    full, *halves = outcomes
    for half in halves:
        assert half.plan["half"] and half.plan["cut"] == full.plan["cut"], half.plan["notes"]
        for row, expected in zip(half.history.rows, full.history.rows, strict=True):
            if row.train_loss is not None and expected.train_loss is not None:
                assert row.train_loss == pytest.approx(expected.train_loss, abs=0.1)


def test_a_processor_without_units_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    with pytest.raises(InputError, match=r"--precision bf16: this processor .* has no units for it"):
        Engine(small.pretrained(), small.dataset(), TrainConfig(), HALF)
