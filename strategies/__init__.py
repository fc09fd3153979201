"""The strategies: one file each, discovered by file name. ``head.py`` is the strategy ``head``.

A variant is written ``name@field=value+field=value``; this module turns such labels into configured strategies.
Files whose name begins with an underscore are helpers, not strategies.
"""

import re
import traceback
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from headtohead.core.errors import InputError
from headtohead.core.fields import annotations, check_values, not_none

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
    files = {plugin_name(path): path for path in plugins}
    by_name = _settings_by_name(settings)
    variants = [_build(label, by_name, files) for label in labels]
    unused = set(by_name) - {variant.name for variant in variants}
    if unused:
        name = sorted(unused)[0]
        raise InputError(
            f"--set {_shown(name)}...: no strategy {name!r} is in --strategies; "
            f"{did_you_mean(name, {variant.name for variant in variants})}"
        )
    return variants


def rebuild_variant(
    name: str, label: str, values: Mapping[str, Any], plugin: Path | None = None
) -> "Variant":
    """A variant out of its strategy's name, its label and its field values, as another process describes it."""
    from headtohead.core.strategy import Variant

    strategy_class = _load(plugin or discover()[name], None if plugin else name)
    return Variant(name, label, replace(strategy_class(), **values), plugin)


def configure(base: "Method", values: Mapping[str, str], name: str) -> "Method":
    """``base`` with fields set from text, each checked against the type and the range it is declared with."""
    kinds = annotations(type(base))
    parsed: dict[str, Any] = {}
    for field_name, text in values.items():
        if field_name not in kinds:
            raise InputError(f"{name} has no field {field_name!r}; {did_you_mean(field_name, kinds)}")
        parsed[field_name] = _parse(text, kinds[field_name], f"{name}.{field_name}={_shown(text)}")
    try:
        configured = replace(base, **parsed)
        check_values(configured)  # an author's own __post_init__ may not
    except ValueError as error:
        raise error if isinstance(error, InputError) else InputError(f"{name}: {error}") from error
    return configured


def plugin_name(path: Path) -> str:
    """The name of the strategy in a file of the user's.

    Raises:
        InputError: the file's name cannot be a strategy's, or is one's already.
    """
    if path.stem in discover():
        raise InputError(f"--plugin {path}: there is a strategy named {path.stem!r} already; rename the file")
    if path.suffix == ".py" and not path.stem.isidentifier():
        raise InputError(
            f"--plugin {path}: {path.stem!r} cannot name a strategy; use letters, digits and _, as in my_strategy.py"
        )
    return path.stem


def _build(label: str, settings: Mapping[str, Mapping[str, str]], plugins: Mapping[str, Path]) -> "Variant":
    from headtohead.core.strategy import Variant

    name = label.partition("@")[0]
    known = {**discover(), **plugins}
    if name not in known:
        raise InputError(f"unknown strategy {name!r}; {did_you_mean(name, known)}")
    strategy_class = _load(known[name], name if name not in plugins else None)
    values = {**settings.get(name, {}), **_options(label)}
    return Variant(name, label, configure(strategy_class(), values, name), plugins.get(name))


def _load(path: Path, name: str | None) -> "type[Method]":
    """The class in a strategy's file; the traceback of what the file's own code raises is printed."""
    from headtohead.core.strategy_files import line_in, load_file, load_module

    try:
        return load_file(path) if name is None else load_module(f"{__name__}.{name}")
    except InputError:
        raise
    except Exception as error:
        traceback.print_exc()  # it is what the file's author needs
        said = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}, line {line_in(path, error)}: {said} (its traceback is above)") from error


def _options(label: str) -> dict[str, str]:
    """``"lora@r=4+alpha=8"`` -> ``{"r": "4", "alpha": "8"}``."""
    pairs: dict[str, str] = {}
    _, at, text = label.partition("@")
    for item in text.split("+") if at else ():
        field_name, equals, value = (part.strip() for part in item.partition("="))
        if not (field_name and equals and value):
            raise InputError(f"strategy {label!r}: {item!r} is not FIELD=VALUE, as in lora@r=4+alpha=8")
        if field_name in pairs:
            raise InputError(f"strategy {label!r} sets {field_name!r} twice; once is enough")
        pairs[field_name] = value
    return pairs


def _settings_by_name(settings: Sequence[str]) -> dict[str, dict[str, str]]:
    by_name: dict[str, dict[str, str]] = {}
    for setting in settings:
        target, equals, value = (part.strip() for part in setting.partition("="))
        name, dot, field_name = (part.strip() for part in target.partition("."))
        if not (equals and dot and name and field_name and value):
            raise InputError(
                f"--set {_shown(setting)}: not NAME.FIELD=VALUE, as in --set lora.learning_rate=5e-5"
            )
        if field_name in by_name.setdefault(name, {}):
            raise InputError(f"--set {_shown(target)} is given twice; once is enough")
        by_name[name][field_name] = value
    return by_name


def _parse(text: str, kind: Any, where: str) -> Any:
    """``text`` as a value of the annotated type: bool, int, float, str, Literal, X | None, or tuple[X, ...]."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        return _parse(text, arguments[0], where)
    if origin in (types.UnionType, typing.Union):
        is_none = text.lower() == "none" and type(None) in arguments
        return None if is_none else _parse(text, not_none(arguments), where)
    if origin is Literal:
        found = [value for value in arguments if str(value) == text]
        if not found:
            raise InputError(f"{where}: {did_you_mean(text, map(str, arguments))}")
        return found[0]
    if origin is tuple:
        # A comma ends a strategy in --strategies, so the items of a list are joined with slashes there.
        items = text.replace(",", "/").split("/")
        if not all(items):
            raise InputError(f"{where}: an item is empty; write them as in A/B")
        return tuple(_parse(item, arguments[0], where) for item in items)
    return _parse_scalar(text, kind, where)


def _parse_scalar(text: str, kind: Any, where: str) -> Any:
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise InputError(f"{where}: not a truth value; use true or false")
        return words[text.lower()]
    # Python would take other scripts' digits and underscores, too.
    if kind in (int, float) and not re.fullmatch(r"[+-]?[0-9.]+([eE][+-]?[0-9]+)?|[+-]?(nan|inf)", text):
        raise InputError(f"{where}: not {_NUMBERS[kind]}")
    try:
        return kind(text)
    except ValueError:
        raise InputError(f"{where}: not {_NUMBERS.get(kind, f'a {kind.__name__}')}") from None


_NUMBERS = {int: "a whole number, as in 16", float: "a number, as in 5e-5"}


def _shown(text: str) -> str:
    """What a user wrote, without control characters in it."""
    return text if text.isprintable() else repr(text)
