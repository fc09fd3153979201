"""What every source of weights gives: a shape, named tensors, and what identifies them."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.tokenizer import Tokenizer

Tensors = dict[str, Tensor]  # float32 on the CPU, named as GPTModel's parameters, without TIED_HEAD
TIED_HEAD = "out_head.weight"  # GPT-2's output head is its token embedding; no source gives it twice


@dataclass(frozen=True)
class Wanted:
    """The weights that are asked for, as in :func:`headtohead.core.weights.find_pretrained`."""

    model: str | None
    weights_dir: Path | None
    download: bool = True


@dataclass(frozen=True)
class Pretrained:
    """Weights that were found and checked.

    Attributes:
        name: "124M", "355M", "774M", "1558M", "demo", "hf:NAME", the folder's name where the shape is none of
            these, or "random:" and one of them.
        config: the model's shape.
        sha256: identifies the weights: over every tensor's name, type, shape and bytes, and over the tokenizer
            where it is not GPT-2's.
        source: one sentence that says where they came from.
        read: gives the tensors, anew at every call; raises InputError where they are gone or changed by now.
        is_demo: True for the embedded demo.
        weights_dir: the folder that the user named; None where there was none.
        tokenizer: the model's own; None for GPT-2's.
    """

    name: str
    config: GPTConfig
    sha256: str
    source: str
    read: Callable[[], Tensors] = field(compare=False, repr=False)
    is_demo: bool = False
    weights_dir: Path | None = None
    tokenizer: Tokenizer | None = field(default=None, compare=False, repr=False)

    def build(self) -> GPTModel:
        """A fresh model on the CPU in evaluation mode; writing to it changes neither file nor other models.

        Raises:
            InputError: the weights were removed or changed since they were checked.
        """
        tensors = self.read()
        model = model_without_values(self.config)
        model.load_state_dict(tensors | {TIED_HEAD: tensors["tok_emb.weight"]}, assign=True)
        model.out_head.weight = model.tok_emb.weight
        return model.eval()


def tensors_sha256(tensors: Tensors) -> str:
    """Hex SHA-256 over the name, type, shape and bytes of every tensor (contiguous, on the CPU), by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def check_finite(tensor: Tensor, where: str) -> None:
    """InputError, beginning with ``where``, for a tensor that holds NaN or an infinity."""
    if not all(math.isfinite(float(limit)) for limit in tensor.aminmax()):
        raise InputError(f"{where} holds values that are no finite numbers; replace it by an intact copy")


def parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The tensors that a source must give for a model of that shape, in the model's order."""
    state = model_without_values(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name != TIED_HEAD}


def model_without_values(config: GPTConfig) -> GPTModel:
    """A model whose tensors are on the device "meta": shapes alone."""
    with torch.device("meta"), _WithoutInitialisation():
        return GPTModel(config)


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves out torch.nn.init: drawing values that are replaced at once takes a second, even on "meta"."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)
