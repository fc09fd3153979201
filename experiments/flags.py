"""Flags out of dataclass fields: a setting is declared once, with its flag, its help and how its text is read.

A field made by :func:`flag` is an argparse option and a keyword of ``headtohead.compare``, under the same name.
"""

import argparse
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from headtohead.core.errors import InputError

LONGEST_PATH = 4096
LARGEST_COUNT = 1_000_000
LARGEST_SIZE = 2**50  # bytes, a million times what a large machine has
_META = "flag"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

Reader = Callable[[str, str], Any]  # (text, the flag's name) -> value, or InputError


@dataclass(frozen=True)
class Flag:
    """How a field appears on the command line.

    Attributes:
        name: "--weights-dir".
        help: one sentence without a full stop.
        metavar: what stands for the value in --help; None for a switch.
        read: text -> value.
        repeated: may be given several times; the field is a tuple.
        off: a switch that turns a field off, such as --no-balance.
        alias: an older name, which means the same.
    """

    name: str
    help: str
    metavar: str | None
    read: Reader
    repeated: bool = False
    off: bool = False
    alias: str | None = None

    @property
    def key(self) -> str:
        """The keyword of compare(): "weights_dir"."""
        return _key(self.name)

    @property
    def keys(self) -> list[str]:
        """The same of every name."""
        return [self.key, *([_key(self.alias)] if self.alias else [])]


def _key(name: str) -> str:
    return name.removeprefix("--").replace("-", "_")


def flag(
    default: Any,
    name: str,
    help: str,
    metavar: str | None = None,
    read: Reader | None = None,
    *,
    repeated: bool = False,
    off: bool = False,
    alias: str | None = None,
) -> Any:
    """A dataclass field with that default and that flag; without ``metavar`` it is a switch."""
    return field(
        default=default, metadata={_META: Flag(name, help, metavar, read or read_text, repeated, off, alias)}
    )


def flags_of(section: type) -> Iterator[tuple[str, Flag]]:
    """(field name, flag) of each field of a dataclass that has one."""
    for each in fields(section):
        if _META in each.metadata:
            yield each.name, each.metadata[_META]


def add_flags(group: "argparse._ArgumentGroup", section: type) -> None:
    """Every flag of a dataclass; what is not given does not appear in the parsed namespace."""
    for _, each in flags_of(section):
        options: dict[str, Any] = {"help": each.help, "default": argparse.SUPPRESS, "dest": each.key}
        if each.metavar is None:
            options["action"] = "store_true"
        else:
            options |= {"metavar": each.metavar, "action": "append" if each.repeated else "store"}
        group.add_argument(each.name, *([each.alias] if each.alias else []), **options)


def given_in(section: object) -> dict[str, Any]:
    """What :func:`read_section` needs to make an equal section, as values that JSON knows; defaults are left out."""
    given: dict[str, Any] = {}
    defaults = {each.name: each.default for each in fields(section)}  # type: ignore[arg-type]  # a dataclass
    for name, each in flags_of(type(section)):
        value = getattr(section, name)
        if value != defaults[name]:
            given[each.key] = (not value if each.off else value) if each.metavar is None else _plain(value)
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def read_section(section: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Field values of a dataclass out of the texts and switches that were given, by key.

    Values that are no text (the caller is Python) are taken as they are.

    Raises:
        InputError: a text that cannot be read as the field's value.
    """
    values: dict[str, Any] = {}
    for name, each in flags_of(section):
        key = next((key for key in reversed(each.keys) if key in given), None)
        if key is None:
            continue
        value = given[key]
        if each.metavar is None:
            values[name] = (not value) if each.off else bool(value)
        elif each.repeated:
            values[name] = tuple(_read(each, item) for item in ([value] if isinstance(value, str) else value))
        else:
            values[name] = _read(each, value)
    return values


def _read(each: Flag, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        raise InputError(f"{each.name} {value!a}: holds characters that cannot be printed; write plain text")
    return each.read(value, each.name)


# --- reading texts -----------------------------------------------------------------------------------------


def read_text(text: str, name: str) -> str:
    """Any text that is not empty."""
    if not text.strip():
        raise InputError(f"{name} is empty; give a value or leave the flag out")
    return text


def read_path(text: str, name: str) -> Path:
    """The path of a file or a folder."""
    read_text(text, name)
    if len(text) > LONGEST_PATH or any(len(part.encode()) > 255 for part in Path(text).parts):
        raise InputError(f"{name} {text[:40]}...: {len(text)} characters are too long for a path")
    return Path(text)


def read_count(text: str, name: str) -> int:
    """A whole number from 1 to LARGEST_COUNT in plain digits."""
    if not re.fullmatch(r"[+-]?[0-9]{1,30}", text):
        raise InputError(f"{name} {text}: not a whole number, as in {name} 5")
    return int(text)


def read_number(text: str, name: str) -> float:
    """A number from 0 in plain digits, as in 0.5."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        raise InputError(f"{name} {text}: not a number from 0, as in {name} 0.5")
    return float(text)


def read_size(text: str, name: str) -> int:
    """``"100MB"`` -> 100,000,000 bytes; units B, KB, MB, GB, TB, and KiB, MiB, GiB, TiB."""
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None or (match[3] and not match[2]):
        raise InputError(f"{name} {text}: not a size; write a number and a unit, as in 500MB or 2GB")
    base = 1024 if match[3] else 1000
    size = int(float(match[1]) * base ** " KMGT".index(match[2] or " "))
    if size > LARGEST_SIZE:
        raise InputError(f"{name} {text}: more than any machine has; at most 1000TB")
    return size


def read_switch(text: str, name: str) -> bool:
    """``"on"`` or ``"off"``."""
    if text not in ("on", "off"):
        raise InputError(f"{name} {text}: use on or off")
    return text == "on"


def read_duration(text: str, name: str) -> float:
    """``"10m"`` -> 600.0 seconds; units ms, s, m (or min), h; several add up, as in ``1h30m``."""
    parts = re.findall(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|min|m|h)", text)
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.replace(" ", "") or not seconds:
        raise InputError(
            f"{name} {text}: not a time above 0; write a number and a unit, as in 20ms, 90s, 10m or 1h30m"
        )
    return seconds


def read_share(text: str, name: str) -> float:
    """``"0.01"`` or ``"1%"`` -> 0.01."""
    match = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,12})?|\.[0-9]{1,12})(%?)", text)
    if match is None:
        raise InputError(f"{name} {text}: not a share; write 0.01 or 1%")
    return float(match[1]) / (100 if match[2] else 1)


def check_share(name: str, value: object) -> None:
    """InputError unless ``value`` lies between 0 and 1, both excluded."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InputError(f"{name} {value}: must lie between 0 and 1, as in {name} 0.01 (or 1%)")


def check_positive(name: str, value: object) -> None:
    """InputError unless ``value`` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise InputError(f"{name} {value}: must be a number above 0")


def check_count(name: str, value: object) -> None:
    """InputError unless ``value`` is a whole number from 1 to LARGEST_COUNT."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{name} {value!r}: not a whole number, as in {name} 5")
    if not 1 <= value <= LARGEST_COUNT:
        shown = value if abs(value) < 10**20 else f"{str(value)[:20]}..."
        raise InputError(f"{name} {shown}: must be 1 or more, and at most {LARGEST_COUNT:,}")


def check_folder(name: str, path: Path) -> None:
    """InputError unless ``path`` is a folder that can be written, or can be made; makes nothing."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise InputError(f"{name} {path}: {existing} is a file; name a folder")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise InputError(
            f"{name} {path}: {existing} cannot be written ({error.strerror}); name another folder"
        ) from error
