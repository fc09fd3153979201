"""The three ways in which headtohead says that something went wrong, and how a value is shown in them."""

import reprlib
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

Arguments = ParamSpec("Arguments")

LONGEST = 2000  # characters of an error's sentence


class InputError(ValueError):
    """Bad input from the user: one sentence with the value, what is allowed and the fix (exit code 2).

    Whatever it was made from, its text is one line that a terminal prints as it stands: control characters,
    line breaks and what else does not print appear as escapes such as ``\\x1b``, and a text of more than
    :data:`LONGEST` characters loses its middle.
    """

    def __str__(self) -> str:
        text = printable(super().__str__())
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class Unavailable(InputError):
    """Data or weights that can be neither found on this machine nor downloaded."""


class TrainingError(RuntimeError):
    """A run that cannot go on, a loss that is not finite for example; other runs continue (exit code 1)."""


def command(main: Callable[Arguments, int]) -> Callable[Arguments, int]:
    """A command's ``main``, whose InputError becomes its sentence on standard error and exit code 2."""

    @wraps(main)
    def checked(*args: Arguments.args, **kwargs: Arguments.kwargs) -> int:
        try:
            return main(*args, **kwargs)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return checked


def printable(text: str) -> str:
    """``text`` with an escape for every character that does not print, a line break as ``\\n`` for example."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def shown(value: object) -> str:
    """A value as an error shows it: as Python writes it, on one line, shortened to about 80 characters."""
    return printable(_SHORT.repr(value))


class _Short(reprlib.Repr):
    """reprlib, with a number too long for ``str`` described instead of refused."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 80
        self.maxlevel = 2

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"a number of {x.bit_length():,} bits"


_SHORT = _Short()
