"""Linear layers as the engine computes them: several with one input as one GEMM where nothing is lost by it.

A linear layer of a block is one of three kinds:
  plain      ``nn.Linear`` itself; its parameters may be trained.
  low rank   an inserted layer that declares ``y = x (W + scale up down)^T + bias`` with W frozen. For many tokens
             W + scale up down is formed once per step, and one GEMM replaces three; for few tokens forming it
             would cost more than the two narrow GEMMs that it saves.
  opaque     anything else that stands in its place: it is called as it is.
Shapes: n tokens, D inputs, E outputs, r the rank.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from headtohead.core.engine.products import MKL, Products, input_gradient, linear, product
from headtohead.core.strategy import LowRank

Updates = Mapping[nn.Module, LowRank]
FEW = 8  # up to FEW * D / r tokens forming W + scale up down costs more than it saves (measured)


def effective_weight(module: nn.Module, updates: Updates) -> Tensor | None:
    """The (E, D) weight that a layer multiplies with, differentiable; None where it declares none."""
    if module in updates:
        update = updates[module]
        return torch.addmm(update.base.weight, update.up, update.down, alpha=update.scale)
    return module.weight if type(module) is nn.Linear else None


def bias_of(module: nn.Module, updates: Updates) -> Tensor | None:
    """The (E,) bias of a plain or low-rank layer."""
    base = updates[module].base if module in updates else module
    assert isinstance(base, nn.Linear)
    return base.bias


class SharedInput:
    """Linear layers that share an input, computed as one GEMM when all are low rank, or all plain and frozen.

    Args:
        modules: the layers as they stand in the model.
        updates: the low-rank updates that the strategy declares, by module.
        frozen: no plain layer among them changes while this object lives.
        products: which library computes them.

    Attributes:
        merged: one weight stands for all layers as they are now.
    """

    def __init__(
        self, modules: Sequence[nn.Module], updates: Updates, *, frozen: bool, products: Products = MKL
    ) -> None:
        self.modules = list(modules)
        self.products = products
        self._updates = {module: updates[module] for module in modules if module in updates}
        self._all_low_rank = len(self._updates) == len(modules)
        all_plain = all(type(module) is nn.Linear for module in modules)
        self._all_frozen = all_plain and frozen and len(modules) > 1
        linears = [updates[module].base if module in updates else module for module in modules]
        self._linears = [each for each in linears if isinstance(each, nn.Linear)]
        self._weight: Tensor | None = None
        self.merged = False

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """(n, D) -> one (n, E) per layer."""
        if not self._all_frozen and not (self._all_low_rank and self._many(x)):
            return [self.one(module, x) for module in self.modules]
        weight = self._merged_weight()
        bias = None
        if self._linears[0].bias is not None:
            bias = torch.cat([each.bias for each in self._linears])
        if self._updates:
            updates = self._updates.values()
            factors = [factor for update in updates for factor in (update.down, update.up)]
            scales = tuple(update.scale for update in updates)
            joined = _MergedLinear.apply(x, weight, bias, scales, self.products, *factors)  # type: ignore[no-untyped-call]
        else:
            joined = linear(x, weight, bias, self.products)
        return joined.split([each.out_features for each in self._linears], dim=-1)

    def one(self, module: nn.Module, x: Tensor) -> Tensor:
        """One of the layers alone: (n, D) -> (n, E)."""
        if module in self._updates:
            update = self._updates[module]
            weight, bias = update.base.weight, update.base.bias
            return _FactoredLinear.apply(  # type: ignore[no-untyped-call]
                x, weight, bias, update.down, update.up, update.scale, self.products
            )
        if type(module) is nn.Linear:
            return linear(x, module.weight, module.bias, self.products)
        result: Tensor = module(x)
        return result

    def parameters_changed(self) -> None:
        """What was merged is stale; its memory is used again."""
        self.merged = self.merged and not self._updates

    def _many(self, x: Tensor) -> bool:
        """Whether the update is worth merging, unless it is merged already."""
        ranks = sum(len(update.down) for update in self._updates.values())
        return self.merged or len(x) * ranks > FEW * x.shape[-1] * len(self.modules)

    def _merged_weight(self) -> Tensor:
        weights = [each.weight.detach() for each in self._linears]
        if self._weight is None:
            self._weight = torch.cat(weights)
        if not self.merged and self._updates:
            # Always from the frozen weight into a second buffer: adding updates in place would drift.
            parts = self._weight.split([len(weight) for weight in weights])
            for part, weight, update in zip(parts, weights, self._updates.values(), strict=True):
                torch.addmm(weight, update.up.detach(), update.down.detach(), alpha=update.scale, out=part)
        self.merged = True
        return self._weight


class _MergedLinear(torch.autograd.Function):
    """``x W'^T + bias`` with ``W' = W + scale up down`` given, and the gradients of x, bias and the factors.

    The gradients of the factors go through r columns: d down = (scale dY up)^T x and d up = scale dY^T (x down^T),
    so the (E, D) gradient of W' is never formed.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scales: tuple[float, ...],
        products: Products,
        *factors: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, *factors)
        ctx.scales, ctx.products = scales, products
        return product(x, weight, bias, products)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, sum of E)
        x, weight, *factors = ctx.saved_tensors
        downs, ups = factors[0::2], factors[1::2]
        parts = gradient.split([len(up) for up in ups], dim=-1)
        narrow = [scale * (part @ up) for part, up, scale in zip(parts, ups, ctx.scales, strict=True)]
        d_downs = (torch.cat(narrow, dim=-1).T @ x).split([len(down) for down in downs])
        projected = (x @ torch.cat(downs).T).split([len(down) for down in downs], dim=-1)
        d_ups = [
            scale * (part.T @ columns)
            for part, columns, scale in zip(parts, projected, ctx.scales, strict=True)
        ]
        d_factors = [item for pair in zip(d_downs, d_ups, strict=True) for item in pair]
        d_x = input_gradient(gradient, weight, ctx.products) if ctx.needs_input_grad[0] else None
        d_bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        return d_x, None, d_bias, None, None, *d_factors


class _FactoredLinear(torch.autograd.Function):
    """``x W^T + scale (x down^T) up^T + bias``, and the gradients of x, bias and the factors.

    The two narrow products are added into the wide ones, so no (n, E) or (n, D) array is made for them.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scale: float,
        products: Products,
    ) -> Tensor:
        projected = x @ down.T  # (n, r)
        ctx.save_for_backward(x, weight, down, up, projected)
        ctx.scale, ctx.products = scale, products
        return product(x, weight, bias, products).addmm_(projected, up.T, alpha=scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, E)
        x, weight, down, up, projected = ctx.saved_tensors
        narrow = ctx.scale * (gradient @ up)  # (n, r)
        d_x = None
        if ctx.needs_input_grad[0]:
            d_x = input_gradient(gradient, weight, ctx.products).addmm_(narrow, down)
        d_bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        return d_x, None, d_bias, narrow.T @ x, ctx.scale * (gradient.T @ projected), None, None
