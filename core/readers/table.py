"""CSV and TSV, with or without a header, with errors that name the line."""

import csv
import io
from collections.abc import Iterator, Sequence

from headtohead.core.errors import InputError
from headtohead.core.readers.rows import TEXT_COLUMNS, Columns, LabelledText, find_columns

SUFFIXES = (".csv", ".tsv")

# The SMS Spam Collection and the demo corpus have no header: a line is one of these, a tab, the message.
HEADERLESS_STARTS = ("ham\t", "spam\t")
UNCLOSED = "\x00end of file"


def read(content: bytes, file: str, chosen: Columns) -> list[LabelledText]:
    """The rows of a CSV or TSV file, UTF-8 with or without a byte-order mark; blank lines are skipped.

    Raises:
        InputError: no UTF-8, no rows, no such column, or a row without label or text.
    """
    table = _decode(content, file)
    if not table.strip():
        raise InputError(f"{file} is empty; give a table with a label and a text column")
    if chosen == Columns() and _has_no_header(table):
        columns, label_at, text_at = ["label", "text"], 0, 1
        lines = _parse(table, "\t", file)
    else:
        lines = _parse(table, _delimiter(table), file)
        columns = [name.strip() for name in next(lines)[1]]
        label_at, text_at = find_columns(columns, chosen, file)
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
