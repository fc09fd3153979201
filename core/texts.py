"""Messages to be classified, out of files and out of standard input as they arrive. They need no labels."""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from headtohead.core.errors import InputError, shown
from headtohead.core.files import file_errors
from headtohead.core.readers.encoding import decode
from headtohead.core.readers.json_lines import SUFFIXES, objects
from headtohead.core.readers.rows import LARGEST_FILE, TEXT_COLUMNS

TABLES = (".csv", ".tsv")
CHUNK_BYTES = 65_536


def texts_of(path: Path, column: str | None = None) -> list[str]:
    """The messages of a file: a column of a .csv or .tsv, a key of a .jsonl, the lines of anything else.

    Args:
        path: the file.
        column: the column or key; None for one with a usual name.

    Raises:
        InputError: it cannot be read, is empty, or has no such column.
    """
    with (
        file_errors(f"reading the messages in {path}", "check the file and its permissions"),
        path.open("rb") as file,
    ):
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise InputError(
            f"{path} is larger than {LARGEST_FILE:,} bytes; send its lines to standard input instead"
        )
    text, _ = decode(content, str(path))
    suffix = path.suffix.lower()
    if suffix in TABLES:
        texts = _of_table(text, path, column)
    elif suffix in SUFFIXES:
        texts = _of_json_lines(text, path, column)
    else:
        texts = lines_of(text)
    if not texts:
        raise InputError(f"{path} holds no messages; write one per line, or a column of them")
    return texts


def lines_of(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line for line in text.replace("\r\n", "\n").split("\n") if line.strip()]


def arriving() -> Iterator[list[str]]:
    """The lines of standard input, those that have arrived together; ends with it.

    Raises:
        InputError: it is not UTF-8.
    """
    # Bytes where there are bytes: what the locale makes of them is no matter.
    source: Any = getattr(sys.stdin, "buffer", None)
    if source is None:
        yield lines_of(sys.stdin.read())
        return
    waiting, offset = b"", 0
    while chunk := source.read1(CHUNK_BYTES):
        if offset == 0 and not waiting:
            chunk = chunk.removeprefix(b"\xef\xbb\xbf")
        whole, newline, rest = (waiting + chunk).rpartition(b"\n")
        if newline:
            yield _decoded(whole, offset)
            offset += len(whole) + 1
        waiting = rest
    if waiting:
        yield _decoded(waiting, offset)


def _decoded(content: bytes, offset: int) -> list[str]:
    try:
        return lines_of(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"standard input is not UTF-8: byte {error.object[error.start]:#04x} at offset {offset + error.start}; "
            "convert it, for example with `iconv -f WINDOWS-1252 -t UTF-8`"
        ) from error


def _of_table(text: str, path: Path, column: str | None) -> list[str]:
    header = text.lstrip("\n").partition("\n")[0]
    delimiter = "\t" if "\t" in header else max(",;|", key=header.count)
    try:
        rows = list(csv.DictReader(io.StringIO(text.lstrip("\n")), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path} cannot be read as a table ({error}); check its quotation marks") from error
    name = _column([str(each) for each in (rows[0] if rows else {})], path, column)
    return [value for row in rows if (value := row.get(name) or "").strip()]


def _of_json_lines(text: str, path: Path, column: str | None) -> list[str]:
    found = [each for _, each in objects(text, str(path), '{"text": "see you at eight"}')]
    name = _column(list(dict.fromkeys(key for each in found for key in each)), path, column)
    return [str(each[name]) for each in found if str(each.get(name) or "").strip()]


def _column(names: Sequence[str], path: Path, column: str | None) -> str:
    usual = TEXT_COLUMNS if column is None else (column.lower(),)
    found = [name for name in names if name.lower() in usual]
    if len(found) == 1:
        return found[0]
    if column is None and len(names) == 1:
        return names[0]
    problem = (
        f"has no column {shown(column)}" if column else "has no single column with a usual name for texts"
    )
    raise InputError(f"{path} {problem}; its columns are {shown(list(names))}: choose one with --text-column")
