"""Linear layers in bfloat16 on a processor that has units for it: AVX512_BF16, AMX, or those of ARM.

The weights that are trained, their gradients and the optimizer stay in float32. What is multiplied is a copy in
bfloat16: of a frozen weight made once, of a trained one once per step. (``torch.autocast`` converts weights at every
call, which takes most of what the faster products gain.) A low-rank update is not added to its weight, where rounding
would swallow it: x (W + s up down)^T is [x, s x down^T] [W, up]^T, one product with r more columns.
Shapes: n tokens, D inputs, E outputs of all joined layers, R the ranks of their updates together.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.engine.linear import Updates, bias_of


class HalfInput:
    """Linear layers that share an input; as :class:`headtohead.core.engine.linear.SharedInput`, in bfloat16.

    Args:
        modules: the layers as they stand in the model.
        updates: the low-rank updates that the strategy declares, by module.
    """

    def __init__(self, modules: Sequence[nn.Module], updates: Updates) -> None:
        self.modules = list(modules)
        self._updates = {module: updates[module] for module in modules if module in updates}
        self._joined: dict[tuple[int, ...], _Joined] = {}

    def __call__(self, x: Tensor) -> Sequence[Tensor]:
        """(n, D) -> one (n, E) in bfloat16 per layer."""
        if not all(map(self._known, self.modules)):
            return [self.one(module, x) for module in self.modules]
        joined = self._join(self.modules)
        return joined(x).split(joined.outputs, dim=-1)

    def one(self, module: nn.Module, x: Tensor) -> Tensor:
        """One of the layers alone: (n, D) -> (n, E) in bfloat16."""
        if self._known(module):
            return self._join([module])(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result: Tensor = module(x.float())
        return result.bfloat16()

    def parameters_changed(self) -> None:
        """The copies of what is trained are stale."""
        for joined in self._joined.values():
            joined.stale = True

    def _known(self, module: nn.Module) -> bool:
        return module in self._updates or type(module) is nn.Linear

    def _join(self, modules: Sequence[nn.Module]) -> "_Joined":
        key = tuple(map(id, modules))
        if key not in self._joined:
            self._joined[key] = _Joined(modules, self._updates)
        return self._joined[key]


class _Joined:
    """Some layers as one: their weights, and the factors of their updates, in one (E, D + R) copy."""

    def __init__(self, modules: Sequence[nn.Module], updates: Updates) -> None:
        self._found = [updates.get(module) for module in modules]
        bases = [
            update.base if update else module for update, module in zip(self._found, modules, strict=True)
        ]
        self.weights = [base.weight for base in bases if isinstance(base, nn.Linear)]
        biases = [bias_of(module, updates) for module in modules]
        self._biases = [bias for bias in biases if bias is not None]
        self.outputs = [len(weight) for weight in self.weights]
        self.inputs = self.weights[0].shape[1]
        self.ranks = [len(update.down) if update else 0 for update in self._found]
        scales = [update.scale for update in self._found if update for _ in range(len(update.down))]
        self.scales = torch.tensor(scales, dtype=torch.bfloat16)  # (R,)
        self.copy = torch.zeros(sum(self.outputs), self.inputs + sum(self.ranks), dtype=torch.bfloat16)
        self.downs = torch.empty(0)  # (R, D) in bfloat16
        self._versions: list[int | None] = [None] * len(self.weights)
        self.stale = True

    def __call__(self, x: Tensor) -> Tensor:
        self._refresh()
        bias = torch.cat(self._biases) if self._biases else None
        factors = [each for update in self._found if update for each in (update.down, update.up)]
        return _HalfProduct.apply(x, bias, self, *self.weights, *factors)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _refresh(self) -> None:
        """Copy what has changed: a frozen weight once, unless somebody writes to it."""
        first, column = 0, self.inputs
        for number, weight in enumerate(self.weights):
            rows = self.copy[first : first + len(weight)]
            if weight._version != self._versions[number] or (self.stale and weight.requires_grad):
                rows[:, : self.inputs].copy_(weight)
                self._versions[number] = weight._version
            update, rank = self._found[number], self.ranks[number]
            if update and self.stale:
                rows[:, column : column + rank].copy_(update.up)
            first, column = first + len(weight), column + rank
        if self.stale and any(self.ranks):
            self.downs = torch.cat([update.down for update in self._found if update]).bfloat16()
        self.stale = False


class _HalfProduct(torch.autograd.Function):
    """``[x, s x down^T] [W, up]^T + bias``, and the gradients of everything in it in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor | None, joined: _Joined, *parameters: Tensor) -> Tensor:
        ctx.joined, ctx.dtype, wide = joined, x.dtype, x.bfloat16()
        if len(joined.scales):
            wide = torch.cat([wide, (wide @ joined.downs.T) * joined.scales], dim=-1)
        ctx.save_for_backward(wide)
        ctx.copy, ctx.downs = joined.copy, joined.downs
        return F.linear(wide, joined.copy, None if bias is None else bias.bfloat16())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, E)
        (wide,) = ctx.saved_tensors  # (n, D + R)
        joined, D = ctx.joined, ctx.joined.inputs
        needs = ctx.needs_input_grad
        d_wide = gradient @ ctx.copy  # (n, D + R)
        d_x, narrow = d_wide[:, :D], d_wide[:, D:] * joined.scales
        d_weights: list[Tensor | None] = [None] * len(joined.weights)
        parts = gradient.split(joined.outputs, dim=-1)
        if any(needs[3 + number] for number in range(len(parts))):
            together = (gradient.T @ wide[:, :D]).float().split(joined.outputs)
            d_weights = [each if needed else None for each, needed in zip(together, needs[3:], strict=False)]
        d_factors: list[Tensor] = []
        if len(joined.scales):
            d_x = torch.addmm(d_x, narrow, ctx.downs)
            d_downs = (narrow.T @ wide[:, :D]).float().split([rank for rank in joined.ranks if rank])
            projected = wide[:, D:].split(joined.ranks, dim=-1)
            d_ups = [
                (part.T @ columns).float()
                for part, columns, rank in zip(parts, projected, joined.ranks, strict=True)
                if rank
            ]
            d_factors = [each for pair in zip(d_downs, d_ups, strict=True) for each in pair]
        d_bias = gradient.sum(0, dtype=torch.float32) if needs[1] else None
        return d_x.to(ctx.dtype) if needs[0] else None, d_bias, None, *d_weights, *d_factors
