"""Less memory for the same gradients, and a run that needs more than there is is refused with the numbers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headtohead import strategies
from headtohead.core.config import CONFIGS
from headtohead.core.engine import REFERENCE, Engine, EngineOptions, Outcome, memory
from headtohead.core.engine.forward import ReferenceForward
from headtohead.core.engine.memory import Load, Need, check_need, check_weights, need_of, parameter_count
from headtohead.core.engine.recompute import RecomputedForward
from headtohead.core.errors import InputError
from headtohead.core.strategy import Strategy, trainable_parameters
from headtohead.core.training import TrainConfig, training_loss
from tests import small

CONFIG = TrainConfig(epochs=1, evaluate_every=3)
LABELS = [
    "lora@r=2",
    pytest.param("all_layers", marks=pytest.mark.slow),
    pytest.param("prefix_tuning", marks=pytest.mark.slow),
]


def strategy(label: str) -> Strategy:
    (variant,) = strategies.build_variants([label])
    assert isinstance(variant.strategy, Strategy)
    return variant.strategy


def fit(label: str, config: TrainConfig, options: EngineOptions, tmp_path: Path) -> Outcome:
    (variant,) = strategies.build_variants([label])
    return Engine(small.pretrained(), small.dataset(), config, options).fit(variant, 123, tmp_path)


def losses(outcome: Outcome) -> list[float]:
    return [row.train_loss for row in outcome.history.rows if row.train_loss is not None]


@pytest.mark.parametrize("allowed", ["plan", "reference"])
@pytest.mark.parametrize("label", LABELS)
def test_recomputed_blocks_change_no_loss(label: str, allowed: str, tmp_path: Path) -> None:
    options = EngineOptions() if allowed == "plan" else EngineOptions(allowed=REFERENCE)
    usual = fit(label, CONFIG, options, tmp_path / "a")
    again = fit(label, CONFIG, replace(options, recompute=True), tmp_path / "b")
    assert losses(again) == pytest.approx(losses(usual), abs=1e-6)
    assert "blocks computed again in the backward pass, to save memory" in again.plan["words"]
    assert usual.plan["cut"] == again.plan["cut"] and usual.plan["restructured"] == again.plan["restructured"]


def test_recomputed_gradients_are_equal_and_the_model_is_as_before() -> None:
    model = small.random_model()
    model.out_head = torch.nn.Linear(model.config.emb_dim, 2)
    forward = ReferenceForward(model, small.dataset(), CONFIG, "cpu")
    gradients = []
    for each in (forward, RecomputedForward(forward, model)):
        model.zero_grad()
        training_loss(model, strategy("all_layers"), each, torch.arange(8)).backward()
        gradients.append([parameter.grad.clone() for parameter in trainable_parameters(model)])
    assert all(torch.equal(first, second) for first, second in zip(*gradients, strict=True))
    assert not any("forward" in vars(module) for module in model.modules())


def test_only_the_input_of_a_block_is_kept() -> None:
    """Counted in what autograd saves outside of the blocks' backward pass."""
    model = small.random_model()
    model.out_head = torch.nn.Linear(model.config.emb_dim, 2)
    forward = ReferenceForward(model, small.dataset(), CONFIG, "cpu")
    saved = []
    for each in (forward, RecomputedForward(forward, model)):
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            each.logits("train", torch.arange(8))
        saved.append(sum(sizes))
    assert saved[1] < saved[0] / 3


# --- the estimate ------------------------------------------------------------------------------------------

BOOK = Load(batch_tokens=8 * 120, all_tokens=1494 * 120, budget=2**40)


def test_needs_grow_with_what_trains_and_fall_with_what_is_recomputed() -> None:
    shape = CONFIGS["124M"]
    needs = [need_of(strategy(label), shape, 2, BOOK).total for label in ("head", "last_block", "all_layers")]
    assert needs == sorted(needs)
    everything = strategy("all_layers")
    less = need_of(everything, shape, 2, replace(BOOK, recompute=True))
    assert less.activations < need_of(everything, shape, 2, BOOK).activations / 5
    assert parameter_count(shape) == 124_439_808


@pytest.mark.parametrize(("size", "gib"), [("355M", 5.0), ("774M", 10.0), ("1558M", 18.5)])
def test_the_larger_sizes_last_block_fits(size: str, gib: float) -> None:
    assert need_of(strategy("last_block"), CONFIGS[size], 2, BOOK).total < gib * 2**30


def test_a_device_that_is_too_small_is_named_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 3 * 2**30)
    with pytest.raises(InputError, match=r"weights of 1558M alone take 5\.8 GiB, but cpu has 3\.0 GiB free"):
        check_weights("1558M", CONFIGS["1558M"], "cpu")
    check_weights("124M", CONFIGS["124M"], "cpu")
    need = Need(weights=2**30, gradients=2**29, optimizer=2**30, activations=2**30, kept=0)
    with pytest.raises(InputError) as caught:
        check_need("all_layers", need, "cpu")
    message = str(caught.value)
    assert "all_layers needs about 3.5 GiB (weights 1.0 GiB, gradients 0.5 GiB" in message
    assert "cpu has 3.0 GiB free" in message and "--checkpoint-activations" in message
    check_need("head", replace(need, activations=0), "cpu")
