"""What code can keep or change outside of a model's parameters: generators, attributes, globals of a strategy's file.

A plan is compared with the reference path by running the strategy's own code a few times. Whatever that moved is put
back, so that a run begins as if nothing had been compared; and what keeps something from one call to the next cannot
be computed in another order.
"""

import itertools
import random
import sys
from collections import deque
from collections.abc import Iterator
from types import FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from headtohead.core.strategy import Strategy

DEEP = 4  # how far attributes of attributes are followed
_SIMPLE = (bool, int, float, complex, str, bytes, type(None))


def generator_states(device: str) -> tuple[Any, ...]:
    """The state of every generator that code may draw from without holding it; comparable."""
    numpy, on_cuda = sys.modules.get("numpy"), device.startswith("cuda")
    return (
        bytes(torch.get_rng_state().numpy()),
        bytes(torch.cuda.get_rng_state(device).numpy()) if on_cuda else None,
        random.getstate(),
        _numpy_state(numpy) if numpy else None,
    )


def _numpy_state(numpy: ModuleType) -> tuple[Any, ...]:
    name, keys, *rest = numpy.random.get_state()
    return (name, tuple(keys.tolist()), *rest)


def set_generators(states: tuple[Any, ...], device: str) -> None:
    """Put back what :func:`generator_states` returned."""
    own, cuda, python, numpy = states
    torch.set_rng_state(torch.frombuffer(bytearray(own), dtype=torch.uint8))
    if cuda is not None:
        torch.cuda.set_rng_state(torch.frombuffer(bytearray(cuda), dtype=torch.uint8), device)
    random.setstate(python)
    if numpy is not None:
        sys.modules["numpy"].random.set_state(numpy)


def picture(value: Any, depth: int = DEEP) -> Any:
    """What can be compared later to see whether a value has changed, as far as attributes show it."""
    if isinstance(value, _SIMPLE):
        return value
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().numpy())
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, itertools.count):
        return repr(value)
    if depth == 0 or isinstance(value, nn.Module | ModuleType | type):
        return id(value)
    if isinstance(value, dict):
        return tuple((picture(key, depth - 1), picture(each, depth - 1)) for key, each in value.items())
    if isinstance(value, list | tuple | deque | set | frozenset):
        return type(value), tuple(picture(each, depth - 1) for each in value)
    if isinstance(value, MethodType):
        return picture(value.__func__, depth)
    if isinstance(value, FunctionType):
        cells = tuple(picture(cell.cell_contents, depth - 1) for cell in _full_cells(value))
        return id(value), cells, picture(value.__defaults__, depth - 1), picture(vars(value), depth - 1)
    return id(value), picture(getattr(value, "__dict__", None), depth - 1)


def _full_cells(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            cell.cell_contents  # noqa: B018 - raises where the cell is empty
        except ValueError:
            continue
        yield cell


def held_by(model: nn.Module) -> dict[str, Any]:
    """What the modules of a model hold besides parameters and other modules, as pictures."""
    skipped = ("_parameters", "_modules", "training")
    return {
        f"{name}.{key}": picture(value)
        for name, module in model.named_modules()
        for key, value in vars(module).items()
        if key not in skipped and not (key.startswith("_") and "hooks" in key)
    }


class Outside:
    """Generators, and what a strategy keeps outside of its model, as they are now."""

    def __init__(self, strategy: Strategy, device: str) -> None:
        self._device, self._generators = device, generator_states(device)
        self._kept = [
            (space, name, value, picture(value), _copy(value))
            for space in _spaces(strategy)
            for name, value in list(vars(space).items())
            if not name.startswith("__") and _keeps(value)
        ]

    def put_back(self) -> str | None:
        """Make everything as it was; the name of something that the strategy kept and that had changed, or None."""
        moved = None
        set_generators(self._generators, self._device)
        for space, name, value, before, copy in self._kept:
            now = vars(space).get(name)
            if now is not value or picture(now) != before:
                moved = moved or name
                _restore(space, name, value, copy)
        return moved


def _spaces(strategy: Strategy) -> list[Any]:
    """The strategy, its file, and the classes that the file defines."""
    module = sys.modules.get(type(strategy).__module__)
    if module is None:
        return [strategy, type(strategy)]
    classes = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    ]
    return [strategy, module, *classes]


def _keeps(value: Any) -> bool:
    kinds = (*_SIMPLE, list, dict, set, deque, Tensor, torch.Generator, random.Random, itertools.count)
    return isinstance(value, kinds) and not isinstance(value, nn.Module)


def _copy(value: Any) -> Any:
    """What :func:`_restore` needs; containers are copied one level deep and in what they contain."""
    if isinstance(value, dict):
        return {key: _copy(each) for key, each in value.items()}
    if isinstance(value, list | set | deque):
        return type(value)(_copy(each) for each in value)
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, random.Random):
        return value.getstate()
    if isinstance(value, itertools.count):
        return itertools.count(*value.__reduce__()[1])
    return value


def _restore(space: Any, name: str, value: Any, copy: Any) -> None:
    """Put a value back: the same object with the same contents."""
    if isinstance(value, dict):
        value.clear()
        value.update(copy)
    elif isinstance(value, list | deque):
        value.clear()
        value.extend(copy)
    elif isinstance(value, set):
        value.clear()
        value.update(copy)
    elif isinstance(value, Tensor):
        value.data.copy_(copy)
    elif isinstance(value, torch.Generator):
        value.set_state(copy)
    elif isinstance(value, random.Random):
        value.setstate(copy)
    elif isinstance(value, itertools.count):
        value = copy
    put = type.__setattr__ if isinstance(space, type) else object.__setattr__
    put(space, name, value)
