"""JSON objects read from files that anybody may have edited: read with a limit, and checked against a dataclass."""

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from headtohead.core.errors import InputError, shown

LARGEST_JSON = 100_000_000  # bytes; what is larger than this was not written by headtohead or OpenAI

Built = TypeVar("Built")


def read_object(path: Path, fix: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Args:
        path: the file.
        fix: the end of the error's sentence, what to do about a file that is damaged.

    Raises:
        FileNotFoundError: there is no such file.
        InputError: it cannot be read, is larger than :data:`LARGEST_JSON`, no JSON, nested too deeply or no object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise InputError(f"{path} is larger than {LARGEST_JSON:,} bytes; {fix}")
        values = json.loads(content.decode("utf-8"), parse_constant=_refuse_constant)
    except (FileNotFoundError, InputError):
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {fix}") from error
    except RecursionError:
        raise InputError(f"{path} is nested too deeply to be read; {fix}") from None
    except ValueError as error:
        raise InputError(f"{path} cannot be read as JSON ({error}); {fix}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object but {shown(values)}; {fix}")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def build(kind: type[Built], values: Mapping[str, Any], where: str, fix: str) -> Built:
    """An instance of a dataclass from JSON values, each checked against the annotation of its field.

    Args:
        kind: a dataclass whose annotations are made of None, bool, int, float, str, Any, Literal, unions, list,
            tuple[X, ...] and dict. A JSON list fills a tuple; a whole number fills a float; numbers are finite.
        values: field -> value.
        where: the beginning of the error's sentence, a file's path for example.
        fix: its end.

    Raises:
        InputError: a field that is unknown or missing, or holds a value of another type.
    """
    hints = typing.get_type_hints(kind)
    known = {each.name: each for each in fields(kind)}  # type: ignore[arg-type]  # a dataclass, as said above
    unknown = [name for name in values if name not in known]
    required = [
        name for name, each in known.items() if each.default is MISSING and each.default_factory is MISSING
    ]
    missing = [name for name in required if name not in values]
    if unknown or missing:
        problem = f"lacks {missing[0]}" if missing else f"has the unknown field {shown(unknown[0])}"
        raise InputError(f"{where} {problem}; {fix}")
    return kind(
        **{name: checked(value, hints[name], f"{where}: {name}", fix) for name, value in values.items()}
    )


def checked(value: Any, hint: Any, where: str, fix: str) -> Any:
    """A JSON value as an annotation has it.

    Args:
        value: from JSON.
        hint: as in :func:`build`, or a TypedDict, whose keys must be there while others may be.
        where: the beginning of the error's sentence.
        fix: its end.

    Raises:
        InputError: it is of another type.
    """
    try:
        return _convert(value, hint)
    except _OtherType as other:
        raise InputError(f"{where}{other}; {fix}") from None


class _OtherType(Exception):
    """Where within a value something is of another type, and what it must be."""

    def __init__(self, value: Any, hint: Any, place: str = "") -> None:
        super().__init__(f"{place} is {shown(value)}, but must be {_words(hint)}")
        self.value, self.hint, self.place = value, hint, place

    def inside(self, place: str) -> "_OtherType":
        return _OtherType(self.value, self.hint, f"{place}{self.place}")


def _convert(value: Any, hint: Any) -> Any:
    """The value as the annotation has it; _OtherType where it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    kind = origin or hint
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _first_that_fits(value, hint)
    if kind in (list, tuple) and isinstance(value, list):
        item = arguments[0] if arguments else Any
        return kind(_inside(each, item, f"[{at}]") for at, each in enumerate(value))
    if kind is dict and isinstance(value, dict):
        item = arguments[1] if arguments else Any
        return {key: _inside(each, item, f"[{shown(key)}]") for key, each in value.items()}
    if typing.is_typeddict(hint) and isinstance(value, dict):
        return _convert_keys(value, hint)
    if origin is Literal:
        fits = any(value == allowed and type(value) is type(allowed) for allowed in arguments)
    else:
        fits = _is_scalar(value, type(None) if hint is None else hint)
    if not fits:
        raise _OtherType(value, hint)
    return value


def _inside(value: Any, hint: Any, place: str) -> Any:
    try:
        return _convert(value, hint)
    except _OtherType as other:
        raise other.inside(place) from None


def _convert_keys(value: dict[str, Any], hint: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(hint)
    missing = [key for key in hints if key in hint.__required_keys__ and key not in value]
    if missing:
        raise _OtherType(value, hint, f", which lacks {missing[0]},")
    known = {key: _inside(value[key], hints[key], f"[{key!r}]") for key in hints if key in value}
    return value | known


def _first_that_fits(value: Any, union: Any) -> Any:
    for hint in typing.get_args(union):
        try:
            return _convert(value, hint)
        except _OtherType:
            continue
    raise _OtherType(value, union)


def _is_scalar(value: Any, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf
    return kind in (bool, int, str, type(None)) and type(value) is kind


WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}


def _words(hint: Any) -> str:
    """An annotation as an error says it."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(shown, arguments))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(map(_words, arguments))
    if typing.is_typeddict(hint):
        return f"an object with {', '.join(typing.get_type_hints(hint))}"
    return WORDS.get(hint, f"a {getattr(hint, '__name__', hint)}")
