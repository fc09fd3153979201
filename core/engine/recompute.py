"""Activation checkpointing: what a block computed is forgotten, and computed again in the backward pass.

Memory then holds one hidden state per block and the inside of one block instead of the inside of all, for about a third
more work; the gradients are the same. Source: Chen et al. (2016), "Training Deep Nets with Sublinear Memory Cost",
arXiv:1604.06174; torch.utils.checkpoint.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from headtohead.core.model import GPTModel
from headtohead.core.training import Forward, SplitName


def recomputed(call: Callable[..., Any]) -> Callable[..., Any]:
    """The same call, of which the backward pass keeps the arguments only; as it is where no gradient is wanted."""

    def run(*arguments: Any) -> Any:
        if not torch.is_grad_enabled():
            return call(*arguments)
        return checkpoint(call, *arguments, use_reentrant=False)

    return run


class Around:
    """A forward that computes its logits by another one."""

    def __init__(self, inner: Forward) -> None:
        self.inner, self.evaluation_rows = inner, inner.evaluation_rows

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> labels (B,)."""
        return self.inner.labels(split, rows)

    def parameters_changed(self) -> None:
        """As the other forward's."""
        self.inner.parameters_changed()


class RecomputedForward(Around):
    """Another forward's logits, during which the blocks of the model itself are called as :func:`recomputed`.

    The engine's own blocks do it by themselves; the model is as before after every call.
    """

    def __init__(self, inner: Forward, model: GPTModel) -> None:
        super().__init__(inner)
        self.model = model

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C)."""
        with _recomputed_blocks(self.model.trf_blocks):
            return self.inner.logits(split, rows)


@contextmanager
def _recomputed_blocks(blocks: nn.Module) -> Iterator[None]:
    """Give every block a ``forward`` of its own for a while; one that it has already is put back."""
    before = [(block, vars(block).get("forward")) for block in blocks.children()]
    for block, _ in before:
        vars(block)["forward"] = recomputed(block.forward)
    try:
        yield
    finally:
        for block, own in before:
            if own is None:
                del vars(block)["forward"]
            else:
                vars(block)["forward"] = own
