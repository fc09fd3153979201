"""Low-rank layers, merged or as factors, are what they declare: ``y = x (W + scale up down)^T + bias``."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.engine.linear import FEW, SharedInput
from headtohead.core.strategy import LowRank

D, E, R = 32, 24, 4
FEW_TOKENS = FEW * D // R


def layers(count: int, bias: bool) -> tuple[list[nn.Module], dict[nn.Module, LowRank]]:
    """Layers that declare an update each; what they compute when called is not theirs but an error."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    updates: dict[nn.Module, LowRank] = {}
    for _ in range(count):
        base = nn.Linear(D, E, bias=bias)
        base.weight = nn.Parameter(draw(E, D), requires_grad=False)
        updates[nn.Identity()] = LowRank(base, draw(R, D).requires_grad_(), draw(E, R).requires_grad_(), 0.5)
    return list(updates), updates


def outputs_and_gradients(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    total = torch.stack([output.square().sum() for output in outputs]).sum()
    return [*outputs, *torch.autograd.grad(total, inputs)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("tokens", [FEW_TOKENS, FEW_TOKENS + 1])
def test_low_rank_layers_compute_what_they_declare(tokens: int, count: int, bias: bool) -> None:
    modules, updates = layers(count, bias)
    x = torch.randn(tokens, D, generator=torch.Generator().manual_seed(1)).requires_grad_()
    factors = [factor for update in updates.values() for factor in (update.down, update.up)]
    biases = [update.base.bias for update in updates.values() if bias]
    shared = SharedInput(modules, updates, frozen=False)
    found = outputs_and_gradients(list(shared(x)), [x, *factors, *biases])
    weights = [each.base.weight + each.scale * each.up @ each.down for each in updates.values()]
    expected = [F.linear(x, w, each.base.bias) for w, each in zip(weights, updates.values(), strict=True)]
    for ours, theirs in zip(found, outputs_and_gradients(expected, [x, *factors, *biases]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)


def test_weights_are_merged_for_many_tokens_only() -> None:
    modules, updates = layers(1, bias=True)
    shared = SharedInput(modules, updates, frozen=False)
    with torch.no_grad():
        shared(torch.randn(FEW_TOKENS, D))
        assert not shared.merged
        shared(torch.randn(FEW_TOKENS + 1, D))
        assert shared.merged
    shared.parameters_changed()
    assert not shared.merged
