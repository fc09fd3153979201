"""Which values a strategy's fields may hold, declared with the field: ``r: Annotated[int, Range(1, "emb_dim")] = 16``.

Looked at wherever a strategy is made, from a label or in code, and once more when the model is known, before anything
is written. A field without a Range is held to its type alone, and to being finite.
"""

import math
import types
import typing
from dataclasses import dataclass, fields
from functools import cache
from typing import Annotated, Any, Literal

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError

_WORDS = {
    "emb_dim": "the model's width",
    "hidden_dim": "the width of its feed-forward layers",
    "n_layers": "the model's number of blocks",
    "context_length": "the model's context",
}


@dataclass(frozen=True)
class Range:
    """The numbers that a field may hold.

    Attributes:
        least, most: allowed themselves; beyond a thousand million no hyperparameter means anything.
        below: not allowed itself. Like ``most``, a number or the name of a number of GPTConfig, such as "emb_dim".
        step: only multiples of it.
    """

    least: float
    most: float | str = 1e9
    below: float | str | None = None
    step: int = 1

    def check(self, value: float, where: str, config: GPTConfig | None) -> None:
        """InputError unless ``value`` is allowed; bounds that depend on a model count once there is one."""
        most, below = _bound(self.most, config), _bound(self.below, config)
        fits = self.least <= value <= most and value < below
        if not fits or (self.step > 1 and value % self.step):
            raise InputError(f"{where}={value}: must be {self.in_words(config)}")

    def in_words(self, config: GPTConfig | None = None) -> str:
        """What is allowed, such as "at least 1 and at most 768 (the model's width)"."""
        limits = [("at most", self.most)] if self.below is None else [("less than", self.below)]
        parts = [f"at least {self.least:g}"]
        for word, limit in limits:
            number = _bound(limit, config)
            value = f"{number:g}" if number < math.inf else ""
            name = _WORDS.get(str(limit), "")
            parts.append(f"{word} {value} ({name})" if value and name else f"{word} {value or name}")
        if self.step > 1:
            parts.append(f"a multiple of {self.step}")
        return " and ".join(parts)


# The ranges that many fields share. A rate too small to move a 32-bit weight trains nothing.
LearningRate = Annotated[float, Range(1e-12, 100)]
Decay = Annotated[float, Range(0, 100)]
Count = Annotated[int, Range(1)]
Rank = Annotated[int, Range(1, "emb_dim")]
Width = Annotated[int, Range(1, "hidden_dim")]
Blocks = Annotated[int, Range(1, "n_layers")]
Seed = Annotated[int, Range(0)]
Scale = Annotated[float, Range(1e-9)]
Share = Annotated[float, Range(0, below=1)]


def check_values(method: Any, config: GPTConfig | None = None) -> None:
    """Hold every field of a strategy to its annotation, and to a model of that shape where one is given.

    Raises:
        InputError: a value of another type, outside its Range, or not finite.
    """
    cls: type = type(method)
    for name, kind in annotations(cls).items():
        check_value(getattr(method, name), kind, f"{method_name(cls)}.{name}", config)


@cache
def annotations(method: type) -> dict[str, Any]:
    """The fields of a strategy's class and their types, ranges included."""
    kinds: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for base in reversed(method.__mro__):
        hints, without = typing.get_type_hints(base, include_extras=True), typing.get_type_hints(base)
        for name in vars(base).get("__annotations__", {}):
            # A new default, ``learning_rate: float = 1e-3``, leaves the range that the base class declares.
            if hints[name] != plain.get(name):
                kinds[name] = hints[name]
            plain[name] = without[name]
    return {field.name: kinds[field.name] for field in fields(method)}


def method_name(method: type) -> str:
    """The name of a strategy, which is that of its file."""
    return method.__module__.rpartition(".")[2].removeprefix("headtohead_plugin_")


def check_value(value: Any, kind: Any, where: str, config: GPTConfig | None = None) -> None:
    """The same of one value of an annotated type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        check_value(value, arguments[0], where, config)
        for each in arguments[1:]:
            if isinstance(each, Range):
                each.check(value, where, config)
    elif origin in (types.UnionType, typing.Union):
        if value is not None or type(None) not in arguments:
            check_value(value, not_none(arguments), where, config)
    elif origin is tuple:
        for item in value:
            check_value(item, arguments[0], where, config)
        if len(set(value)) < len(value):
            raise InputError(f"{where}={'/'.join(map(str, value))}: names something twice")
    elif origin is Literal:
        if value not in arguments:
            raise InputError(f"{where}={value!r}: choose from {', '.join(map(str, arguments))}")
    elif kind in (bool, int, float, str):
        _check_scalar(value, kind, where)


def _check_scalar(value: Any, kind: type, where: str) -> None:
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise InputError(
            f"{where}={value!r}: a {type(value).__name__}, but the field holds a {kind.__name__}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}={value}: must be a finite number")


def not_none(arguments: tuple[Any, ...]) -> Any:
    """The type beside None of ``X | None``."""
    return next(item for item in arguments if item is not type(None))


def is_settable(kind: Any) -> bool:
    """Whether a value of that type can be written in a label or a setting."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return is_settable(arguments[0])
    if origin in (types.UnionType, typing.Union):
        return len(arguments) == 2 and type(None) in arguments and is_settable(not_none(arguments))
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is Ellipsis and is_settable(arguments[0])
    return origin is Literal or kind in (bool, int, float, str)


def _bound(limit: float | str | None, config: GPTConfig | None) -> float:
    if isinstance(limit, str):
        return math.inf if config is None else getattr(config, limit)
    return math.inf if limit is None else limit
