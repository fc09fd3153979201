"""The matrix products of linear layers in fp32 on a CPU, by oneDNN where that is the faster library.

Torch gives these products to MKL. On a processor with AVX-512 oneDNN's kernels take a tenth less time for the 960
rows of a padded batch, a quarter less for the 240 tokens of a packed one, and half as long for the 8 rows of a last
position (measured on an AMD EPYC with two cores; held to AVX2 there, it computed some input gradients slower than
MKL). The gradient of a weight stays with MKL, whose kernel for two transposed factors is the better one. Both add up
the same products in another order.
Shapes: n rows, D inputs, E outputs.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

FEW_ROWS = 16  # up to which oneDNN computes the gradient of a weight faster, too (measured at 8 and 16)


@cache
def onednn_pays() -> bool:
    """Whether this processor and this build of torch have the faster kernels."""
    return (
        torch.backends.cpu.get_cpu_capability() == "AVX512"
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool) -> Tensor:
    """``F.linear``: x (n, D), weight (E, D), bias (E,) or None -> (n, E), with a graph where one is needed."""
    if onednn and torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return product(x, weight, bias, onednn)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, onednn: bool) -> Tensor:
    """``F.linear`` without a graph."""
    return _by_onednn(x, weight, bias) if onednn else F.linear(x, weight, bias)


def input_gradient(gradient: Tensor, weight: Tensor, onednn: bool) -> Tensor:
    """(n, E), (E, D) -> (n, D)."""
    return _by_onednn(gradient, weight.T) if onednn else gradient @ weight


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Either factor may be a transposed view."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """``x W^T + bias`` by oneDNN, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, E)
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        d_x = input_gradient(gradient, weight, onednn=True) if for_x else None
        d_weight = _weight_gradient(gradient, x) if for_weight else None
        return d_x, d_weight, gradient.sum(0) if for_bias else None


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """(n, E), (n, D) -> (E, D)."""
    return _by_onednn(gradient.T, x.T) if len(x) <= FEW_ROWS else gradient.T @ x
