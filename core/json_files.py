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
    converted = {}
    for name, value in values.items():
        try:
            converted[name] = _convert(value, hints[name])
        except TypeError:
            raise InputError(
                f"{where}: {name} is {shown(value)}, but must be {_words(hints[name])}; {fix}"
            ) from None
    return kind(**converted)


def _convert(value: Any, hint: Any) -> Any:
    """The value as the annotation has it; TypeError where it does not fit."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _first_that_fits(value, arguments)
    if origin is Literal:
        fits = any(value == allowed and type(value) is type(allowed) for allowed in arguments)
    elif (origin or hint) in (list, tuple) and isinstance(value, list):
        item = arguments[0] if arguments else Any
        return (origin or hint)(_convert(each, item) for each in value)
    elif (origin or hint) is dict and isinstance(value, dict):
        return {key: _convert(each, arguments[1] if arguments else Any) for key, each in value.items()}
    else:
        fits = _is_scalar(value, type(None) if hint is None else hint)
    if not fits:
        raise TypeError
    return value


def _first_that_fits(value: Any, hints: tuple[Any, ...]) -> Any:
    for hint in hints:
        try:
            return _convert(value, hint)
        except TypeError:
            continue
    raise TypeError


def _is_scalar(value: Any, kind: Any) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) < math.inf
    return kind in (bool, int, str, type(None)) and type(value) is kind


def _words(hint: Any) -> str:
    """An annotation as an error says it."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(shown, arguments))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(map(_words, arguments))
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "a text",
        type(None): "null",
    }
    return names.get(hint, f"a {getattr(hint, '__name__', hint)}")
