"""Rows of labelled messages, and which columns of a file with named columns hold them."""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from headtohead.core.errors import InputError

LARGEST_FILE = 500_000_000  # bytes; what is larger than this is no table of messages
LABEL_COLUMNS = ("label", "labels", "category", "class", "target", "v1", "spam", "sentiment", "intent")
SPLIT_NAMES = {  # what files, folders and hubs call the three splits
    **{"train": "train", "training": "train"},
    **{"validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"},
    **{"test": "test", "testing": "test"},
}
TEXT_COLUMNS = (
    *("text", "texts", "message", "messages", "sms", "content", "body"),
    *("v2", "tweet", "review", "sentence", "comment", "email"),
)


@dataclass(frozen=True)
class LabelledText:
    """One row: the label as written, and the message."""

    label: str
    text: str


class Rows(list[LabelledText]):
    """Rows, and how their file was understood: one phrase without a full stop, such as "UTF-8, separated by ';'"."""

    def __init__(self, rows: Iterable[LabelledText] = (), how: str = "") -> None:
        super().__init__(rows)
        self.how = how


@dataclass(frozen=True)
class Columns:
    """The names that the user chose; where one is None the usual names are looked for."""

    label: str | None = None
    text: str | None = None


def find_columns(names: Sequence[str], chosen: Columns, file: str) -> tuple[int, int]:
    """Where among the ``names`` the label and the text are.

    Raises:
        InputError: no such column, several, or one for both.
    """
    label_at = _find_column(names, chosen.label, LABEL_COLUMNS, "label", file)
    text_at = _find_column(names, chosen.text, TEXT_COLUMNS, "text", file)
    if label_at == text_at:
        raise InputError(f"{file}: the label and the text cannot both be the column {names[label_at]!r}")
    return label_at, text_at


def as_cell(value: object) -> str | None:
    """A value of a typed format as the text that a table would have for it; None where it has none."""
    if value is None or isinstance(value, list | dict | bytes):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def row_of(label: object, text: object, where: str) -> LabelledText:
    """A row of a typed format.

    Raises:
        InputError: there is no label or no text, or one is no plain value.
    """
    cells = {"label": as_cell(label), "text": text if isinstance(text, str) else as_cell(text)}
    for what, cell in cells.items():
        if cell is None or not cell.strip():
            raise InputError(f"{where} has no {what}; fill it in or delete the row")
        check_text(cell, where)
    return LabelledText(str(cells["label"]).strip(), str(cells["text"]))


def check_text(text: str, where: str) -> None:
    """InputError where a text holds halves of characters, which no file can be written with."""
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise InputError(
            f"{where} holds half a character (a lone surrogate); write the text as valid Unicode"
        )


def _find_column(
    columns: Sequence[str], chosen: str | None, usual: Sequence[str], what: str, file: str
) -> int:
    flag = f"--{what}-column"
    found = _shortened(", ".join(name for name in columns if name) or "none")
    if chosen is not None:
        matches = [at for at, name in enumerate(columns) if name == chosen]
        matches = matches or [at for at, name in enumerate(columns) if name.lower() == chosen.lower()]
    else:
        matches = [at for at, name in enumerate(columns) if name.lower() in usual]
    if len(matches) == 1:
        return matches[0]
    if matches:
        several = ", ".join(columns[at] for at in matches)
        raise InputError(
            f"{file} has several columns that may be the {what}: {several}; choose one with {flag}"
        )
    if chosen is not None:
        similar = difflib.get_close_matches(chosen, [name for name in columns if name], n=1)
        hint = f", did you mean {similar[0]!r}?" if similar else ""
        raise InputError(
            f"{file} has no column {chosen!r} as asked with {flag}; its columns are: {found}{hint}"
        )
    raise InputError(
        f"{file} has no column with a usual name for the {what} ({', '.join(usual)}); "
        f"its first line gives the columns {found}: add a header or choose one with {flag}"
    )


def _shortened(text: str, longest: int = 120) -> str:
    return text if len(text) <= longest else text[:longest] + "..."
