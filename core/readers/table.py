"""CSV and TSV, with or without a header, as Excel and others write them, with errors that name the line."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from headtohead.core.errors import InputError
from headtohead.core.readers.encoding import decode
from headtohead.core.readers.rows import (
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    Columns,
    LabelledText,
    Rows,
    find_columns,
)

SUFFIXES = (".csv", ".tsv")
SEPARATORS = {"\t": "tabs", ",": "','", ";": "';'", "|": "'|'"}
EXCEL_SEPARATOR = re.compile(r"sep=(.)\n")  # a first line that Excel reads and writes

# The SMS Spam Collection and the demo corpus have no header: a line is one of these, a tab, the message.
HEADERLESS_STARTS = ("ham\t", "spam\t")
AG_NEWS_START = re.compile(r'"?\d{1,3}"?,"[^"]*[A-Za-z]')
UNCLOSED = "\x00end of file"


def read(content: bytes, file: str, chosen: Columns) -> Rows:
    """The rows of a CSV or TSV file; encoding and separator are detected, blank lines are skipped.

    Raises:
        InputError: no text, no rows, no such column, or a row without label or text.
    """
    table, encoding = decode(content, file)
    if not table.strip():
        raise InputError(f"{file} is empty; give a table with a label and a text column")
    if chosen == Columns() and _has_no_header(table):
        return _without_header(table, encoding, file)
    if chosen == Columns() and _is_ag_news(table):
        return _ag_news(table, encoding, file)
    separator, first, table = _separator(table)
    lines = _parse(table, separator, file, first)
    columns = [name.strip() for name in next(lines)[1]]
    label_at, text_at = find_columns(columns, chosen, file)
    rows = [_labelled_text(cells, columns, label_at, text_at, f"{file}, line {at}") for at, cells in lines]
    if not rows:
        raise InputError(f"{file} has a header but no rows; give one row per message")
    how = f"{encoding}, separated by {SEPARATORS.get(separator, ascii(separator))}"
    return Rows(rows, f"{how}, label in {columns[label_at]!r}, text in {columns[text_at]!r}")


def _without_header(table: str, encoding: str, file: str) -> Rows:
    lines = _parse(table, "\t", file)
    rows = [_labelled_text(cells, ["label", "text"], 0, 1, f"{file}, line {at}") for at, cells in lines]
    return Rows(rows, f"{encoding}, no header: label, tab, text")


def _is_ag_news(table: str) -> bool:
    """Lines such as "3","Title","Description": the number of a class, then texts, all quoted, and no header."""
    first = table.lstrip("\n").partition("\n")[0]
    return AG_NEWS_START.match(first) is not None


def _ag_news(table: str, encoding: str, file: str) -> Rows:
    rows = []
    for at, cells in _parse(table, ",", file):
        text = " ".join(cell for cell in cells[1:] if cell.strip())
        rows.append(_labelled_text([cells[0], text], ["label", "text"], 0, 1, f"{file}, line {at}"))
    return Rows(rows, f"{encoding}, no header: the class's number, then texts, which are joined")


def _has_no_header(table: str) -> bool:
    second_cell = table.partition("\n")[0].partition("\t")[2]
    return table.startswith(HEADERLESS_STARTS) and second_cell.strip().lower() not in TEXT_COLUMNS


def _separator(table: str) -> tuple[str, int, str]:
    """The separator, the number of the first line that is a row, and the table from there on.

    What Excel's first line says; else a tab where the header has one; else what separates a usual name, or what the
    header has most of.
    """
    named = EXCEL_SEPARATOR.match(table)
    if named and named[1] not in '"\r':
        return named[1], 2, table[named.end() :]
    header = re.sub(r'"[^"]*"', "", table.lstrip("\n").partition("\n")[0])
    if "\t" in header:
        return "\t", 1, table
    by_count = sorted(",;|", key=header.count, reverse=True)
    usual = {*LABEL_COLUMNS, *TEXT_COLUMNS}
    knows = (each for each in by_count if usual & {name.strip().lower() for name in header.split(each)})
    return next(knows, by_count[0]), 1, table


def _parse(table: str, delimiter: str, file: str, first: int = 1) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of the row's first line, cells) with the quoting rules of pandas.read_csv."""
    reader = csv.reader(io.StringIO(f"{table}\n{UNCLOSED}"), delimiter=delimiter)
    line, before = first, first - 1
    try:
        for cells in reader:
            if cells == [UNCLOSED]:
                return
            if cells:
                yield line, cells
            ended_at, line = line, reader.line_num + 1 + before
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
