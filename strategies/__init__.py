"""The strategies: one file each, discovered by file name. ``head.py`` is the strategy ``head``.

A variant is written ``name@field=value+field=value``; this module turns such labels into configured strategies.
Files whose name begins with an underscore are helpers, not strategies.
"""

import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from headtohead.core.errors import InputError

if typing.TYPE_CHECKING:
    from headtohead.core.strategy import Method, Variant

FOLDER = Path(__file__).parent
DEFAULT = ("head", "last_block", "all_layers", "lora")


def discover() -> dict[str, Path]:
    """Strategy files of this folder by name, sorted; none of them is imported."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.py")) if not path.stem.startswith("_")}


def did_you_mean(wrong: str, allowed: Iterable[str]) -> str:
    """The end of an error sentence: the nearest allowed name, then all of them."""
    names = sorted(allowed)
    near = get_close_matches(wrong, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{hint}allowed: {', '.join(names)}"


def split_labels(text: str) -> list[str]:
    """``"head,lora@r=4"`` -> ``["head", "lora@r=4"]``, each label once, in the order given."""
    labels = [label.strip() for label in text.split(",") if label.strip()]
    if not labels:
        raise InputError("--strategies is empty; name at least one, for example --strategies head,lora")
    return list(dict.fromkeys(labels))


def build_variants(
    labels: Sequence[str], settings: Sequence[str] = (), plugins: Sequence[Path] = ()
) -> list["Variant"]:
    """Configured strategies for labels, ``NAME.FIELD=VALUE`` settings and plugin files.

    Raises:
        InputError: an unknown name or field, a value of the wrong type, or a setting that applies to nothing.
    """
    files = {path.stem: path for path in plugins}
    by_name = _settings_by_name(settings)
    variants = [_build(label, by_name, files) for label in labels]
    unused = set(by_name) - {variant.name for variant in variants}
    if unused:
        name = sorted(unused)[0]
        raise InputError(
            f"--set {name}...: no strategy {name!r} is in --strategies; "
            f"{did_you_mean(name, {variant.name for variant in variants})}"
        )
    return variants


def configure(base: "Method", values: Mapping[str, str], name: str) -> "Method":
    """``base`` with fields set from text, each checked against the type it is annotated with."""
    types_of = {field.name: _annotation(type(base), field.name) for field in fields(base)}
    parsed: dict[str, Any] = {}
    for field_name, text in values.items():
        if field_name not in types_of:
            raise InputError(f"{name} has no field {field_name!r}; {did_you_mean(field_name, types_of)}")
        parsed[field_name] = _parse(text, types_of[field_name], f"{name}.{field_name}")
    try:
        return replace(base, **parsed)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error


def _build(label: str, settings: Mapping[str, Mapping[str, str]], plugins: Mapping[str, Path]) -> "Variant":
    from headtohead.core.strategy import Variant, load_file, load_module

    name, _, options = label.partition("@")
    known = discover()
    if name in plugins:
        strategy_class = load_file(plugins[name])
    elif name in known:
        strategy_class = load_module(f"headtohead.strategies.{name}")
    else:
        raise InputError(f"unknown strategy {name!r}; {did_you_mean(name, {*known, *plugins})}")
    base = configure(strategy_class(), settings.get(name, {}), name)
    return Variant(name, label, configure(base, _options(label, options), name), plugins.get(name))


def _options(label: str, text: str) -> dict[str, str]:
    """``"r=4+alpha=8"`` -> ``{"r": "4", "alpha": "8"}``."""
    pairs: dict[str, str] = {}
    for item in filter(None, text.split("+")):
        field_name, equals, value = item.partition("=")
        if not equals or not value:
            raise InputError(f"strategy {label!r}: {item!r} is not FIELD=VALUE, as in lora@r=4+alpha=8")
        pairs[field_name.strip()] = value.strip()
    return pairs


def _settings_by_name(settings: Sequence[str]) -> dict[str, dict[str, str]]:
    by_name: dict[str, dict[str, str]] = {}
    for setting in settings:
        target, equals, value = setting.partition("=")
        name, dot, field_name = target.partition(".")
        if not (equals and dot and name and field_name and value):
            raise InputError(f"--set {setting}: not NAME.FIELD=VALUE, as in --set lora.learning_rate=5e-5")
        by_name.setdefault(name.strip(), {})[field_name.strip()] = value.strip()
    return by_name


def _annotation(strategy_class: type, field_name: str) -> Any:
    return typing.get_type_hints(strategy_class)[field_name]


def _parse(text: str, kind: Any, where: str) -> Any:
    """``text`` as a value of the annotated type: bool, int, float, str, Literal, X | None, or tuple[str, ...]."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if text.lower() == "none" and type(None) in arguments:
            return None
        return _parse(text, next(item for item in arguments if item is not type(None)), where)
    if origin is Literal:
        if text not in map(str, arguments):
            raise InputError(f"{where}={text}: {did_you_mean(text, map(str, arguments))}")
        return next(value for value in arguments if str(value) == text)
    if origin is tuple:
        # A comma ends a strategy in --strategies, so the items of a list are joined with slashes there.
        return tuple(_parse(item, arguments[0], where) for item in text.replace(",", "/").split("/") if item)
    return _parse_scalar(text, kind, where)


def _parse_scalar(text: str, kind: Any, where: str) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InputError(f"{where}={text}: not a truth value; use true or false")
        return words[text.lower()]
    try:
        return kind(text)
    except ValueError:
        example = "16" if kind is int else "5e-5"
        raise InputError(f"{where}={text}: not {_article(kind)}, as in {where}={example}") from None


def _article(kind: Any) -> str:
    return {int: "a whole number", float: "a number"}.get(kind, f"a {kind.__name__}")
