"""What the strategies that put modules of their own into the model share."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from headtohead.core.model import GPTModel, TransformerBlock

Old = TypeVar("Old", bound=nn.Module)


def blocks_of(model: GPTModel) -> list[TransformerBlock]:
    """The model's blocks, which nothing has replaced yet."""
    return [block for block in model.trf_blocks if isinstance(block, TransformerBlock)]


def replace_layers(parent: nn.Module, kind: type[Old], make: Callable[[Old], nn.Module]) -> None:
    """Put ``make(layer)`` in the place of every layer of that type under ``parent``, in the order of computation."""
    for name, child in list(parent.named_children()):
        if isinstance(child, kind):
            setattr(parent, name, make(child))
        else:
            replace_layers(child, kind, make)


def replace_layer(parent: nn.Module, name: str, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Put ``make(layer)`` in the place of one linear layer."""
    setattr(parent, name, make(getattr(parent, name)))
