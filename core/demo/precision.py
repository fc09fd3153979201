"""Products in bfloat16 where the processor has instructions for them; everything else stays in float32.

The weights that are trained are float32; each product rounds its factors and adds up in float32. Attention,
norms and the loss gain nothing from bfloat16 on a CPU and stay as they are.
"""

import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PRECISIONS = ("auto", "fp32", "bf16")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, half: bool) -> Tensor:
    """``F.linear`` with factors rounded to bfloat16 if ``half``: (..., D), (K, D), (K,) -> (..., K) in float32."""
    if not half:
        return F.linear(x, weight, bias)
    product = F.linear(x.bfloat16(), weight.bfloat16(), None if bias is None else bias.bfloat16())
    return product.float()


class HalfLinear(nn.Linear):
    """A linear layer whose float32 weights are rounded for each product."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias, half=True)


def use_half(model: nn.Module) -> None:
    """Make every linear layer of a model multiply in bfloat16; its parameters stay the same objects."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Linear:
                half = HalfLinear(child.in_features, child.out_features, child.bias is not None)
                half.weight, half.bias = child.weight, child.bias
                setattr(module, name, half)


def half_is_faster(emb_dim: int, positions: int = 4096) -> bool:
    """Whether bfloat16 wins at the shapes of this model, forward and backward, on this machine now."""
    x = torch.ones(positions, emb_dim, requires_grad=True)
    weight = torch.ones(4 * emb_dim, emb_dim, requires_grad=True)

    def seconds(half: bool) -> float:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            linear(x, weight, None, half).sum().backward()
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(half=True) < 0.8 * seconds(half=False)  # a small gain is not worth the rounding
