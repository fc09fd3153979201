"""Reading labelled messages out of the bytes of a CSV or TSV file, with errors that name the line."""

import csv
import difflib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headtohead.core.errors import InputError

LABEL_COLUMNS = ("label", "labels", "category", "class", "target", "v1", "spam", "sentiment", "intent")
TEXT_COLUMNS = (
    *("text", "texts", "message", "messages", "sms", "content", "body"),
    *("v2", "tweet", "review", "sentence", "comment", "email"),
)
# The SMS Spam Collection and the demo corpus have no header: a line is one of these, a tab, the message.
HEADERLESS_STARTS = ("ham\t", "spam\t")
UNCLOSED = "\x00end of file"


@dataclass(frozen=True)
class LabelledText:
    """One row: the label as written, and the message."""

    label: str
    text: str


def read_labelled_texts(
    content: bytes, file: str, label_column: str | None = None, text_column: str | None = None
) -> list[LabelledText]:
    """The rows of a CSV or TSV file in their order; blank lines are skipped.

    Args:
        content: the file's bytes, UTF-8 with or without a byte-order mark.
        file: how errors name the file.
        label_column, text_column: names in the header; without them the usual names are looked for.

    Raises:
        InputError: no UTF-8, no rows, no such column, or a row without label or text.
    """
    table = _decode(content, file)
    if not table.strip():
        raise InputError(f"{file} is empty; give a table with a label and a text column")
    if label_column is None and text_column is None and _has_no_header(table):
        columns, label_at, text_at = ["label", "text"], 0, 1
        lines = _parse(table, "\t", file)
    else:
        lines = _parse(table, _delimiter(table), file)
        columns = [name.strip() for name in next(lines)[1]]
        label_at = _find_column(columns, label_column, LABEL_COLUMNS, "label", file)
        text_at = _find_column(columns, text_column, TEXT_COLUMNS, "text", file)
        if label_at == text_at:
            raise InputError(
                f"{file}: the label and the text cannot both be the column {columns[label_at]!r}"
            )
    rows = [_labelled_text(cells, columns, label_at, text_at, f"{file}, line {at}") for at, cells in lines]
    if not rows:
        raise InputError(f"{file} has a header but no rows; give one row per message")
    return rows


def _decode(content: bytes, file: str) -> str:
    try:
        table = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{file} is not UTF-8: byte {content[error.start]:#04x} at offset {error.start} (line {line}); "
            "convert it, for example with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW_FILE`"
        ) from error
    return table.replace("\r\n", "\n").replace("\r", "\n")


def _has_no_header(table: str) -> bool:
    second_cell = table.partition("\n")[0].partition("\t")[2]
    return table.startswith(HEADERLESS_STARTS) and second_cell.strip().lower() not in TEXT_COLUMNS


def _delimiter(table: str) -> str:
    """A tab where the header has one, else a comma or a semicolon, whichever the header has more of."""
    header = table.lstrip("\n").partition("\n")[0]
    if "\t" in header:
        return "\t"
    return ";" if header.count(";") > header.count(",") else ","


def _parse(table: str, delimiter: str, file: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the row's first line, cells) with the quoting rules of pandas.read_csv."""
    reader = csv.reader(io.StringIO(f"{table}\n{UNCLOSED}"), delimiter=delimiter)
    line = 1
    try:
        for cells in reader:
            if cells == [UNCLOSED]:
                return
            if cells:
                yield line, cells
            ended_at, line = line, reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{file}, line {line}: {error}; is a quotation mark opened there and not closed?"
        ) from error
    # The last line was swallowed by a quoted cell; the csv module accepts that without a word.
    raise InputError(
        f"{file}, line {ended_at}: a cell opens with a quotation mark that is never closed; "
        "close it, or quote the whole cell and double the marks inside where they belong to the text"
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


def _labelled_text(
    cells: list[str], columns: Sequence[str], label_at: int, text_at: int, where: str
) -> LabelledText:
    if len(cells) > len(columns):
        raise InputError(
            f"{where} has {len(cells)} cells for {len(columns)} columns; "
            "put a text that contains the separator into quotation marks"
        )
    for at, what in ((label_at, "label"), (text_at, "text")):
        if at >= len(cells) or not cells[at].strip():
            raise InputError(f"{where} has no {what}; fill it in or delete the line")
    return LabelledText(cells[label_at].strip(), cells[text_at])
