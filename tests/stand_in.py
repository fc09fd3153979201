"""A device that is nowhere, for tests on machines without an accelerator: tensors "there" keep their numbers here.

``torch`` calls the device "meta". An operation that mixes tensors from here and from there raises, as it does with a
GPU: what is allowed is a number (a tensor without dimensions), an index from here into a tensor there, and copying.
What it cannot find: kernels that only a GPU has, streams, and limits of its memory.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

DEVICE = "meta"
_MOVES = ("aten::_to_copy", "aten::copy_")
_INDEXED = ("aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::index_put")


class There(Tensor):
    """A tensor on the device, around one with its numbers."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "There":
        made: There = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(DEVICE),
            requires_grad=inner.requires_grad,
        )
        made.held = inner.detach()
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # declared without its arguments
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class _Everywhere(TorchDispatchMode):
    """Sees what makes tensors there out of nothing, or out of tensors that are here."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: Any) -> Any:
    name = func._schema.name
    tensors = [each for each in pytree.tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
    asked = kwargs.get("device")
    to_there = asked is not None and torch.device(asked).type == DEVICE
    from_there = any(isinstance(each, There) for each in tensors)
    if from_there and name not in _MOVES:
        _refuse_mixture(name, args, tensors)
    if to_there:
        kwargs = {**kwargs, "device": "cpu"}
    result = func(*pytree.tree_map(_inner, args), **pytree.tree_map(_inner, kwargs))
    if name.endswith("_") and name != "aten::_" and tensors and result is _inner(args[0]):
        return args[0]
    if name == "aten::copy_":
        return args[0]
    stays = to_there or (from_there and asked is None)
    return pytree.tree_map(lambda each: There(each) if stays and isinstance(each, Tensor) else each, result)


def _inner(value: Any) -> Any:
    return value.held if isinstance(value, There) else value


def _refuse_mixture(name: str, args: Any, tensors: list[Tensor]) -> None:
    here = [each for each in tensors if not isinstance(each, There) and each.dim()]
    if name in _INDEXED and isinstance(args[0], There):
        indices = pytree.tree_leaves(args[1])
        here = [each for each in here if not any(each is index for index in indices)]
    if here:
        raise RuntimeError(
            f"{name}: expected all tensors to be on the same device, but found {DEVICE} and cpu"
        )


@contextmanager
def stand_in() -> Iterator[None]:
    """While it lasts, ``DEVICE`` can be computed on."""
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Everywhere(), sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
