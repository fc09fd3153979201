"""Parquet, read by pyarrow, which is imported for it alone."""

import io
import json
from typing import TYPE_CHECKING, Any

from headtohead.core.errors import InputError
from headtohead.core.readers.rows import LARGEST_FILE, Columns, Rows, find_columns, row_of

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet",)
INSTALL = "install it with: python -m pip install 'headtohead[data]'"


def read(content: bytes, file: str, chosen: Columns) -> Rows:
    """The rows of a Parquet file; numbers of classes get their names where the file holds them, as Hugging Face's do.

    Raises:
        InputError: pyarrow is not installed, the file is damaged, no such columns, or a row without label or text.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise InputError(
            f"{file}: reading Parquet needs pyarrow, which is not installed; {INSTALL}"
        ) from error
    try:
        opened = parquet.ParquetFile(io.BytesIO(content))
        names = [str(name) for name in opened.schema_arrow.names]
        at = find_columns(names, chosen, file)
        groups = [opened.metadata.row_group(number) for number in range(opened.metadata.num_row_groups)]
        if sum(group.total_byte_size for group in groups) > LARGEST_FILE:
            raise InputError(
                f"{file} unpacks to more than {LARGEST_FILE:,} bytes, the most that is read; split it"
            )
        table = opened.read([names[each] for each in at])
        labels, texts = (table.column(names[each]).to_pylist() for each in at)
        classes = _class_names(opened.schema_arrow, names[at[0]])
    except InputError:
        raise
    # Of a damaged file pyarrow raises its own errors and whatever a decoder underneath it says.
    except (
        pyarrow.ArrowException,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        MemoryError,
    ) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{file} is no Parquet file that can be read ({reason!a}); write it again"
        ) from error
    if not labels:
        raise InputError(f"{file} has no rows; give one row per message")
    rows = [
        row_of(_named(label, classes), text, f"{file}, row {number}")
        for number, (label, text) in enumerate(zip(labels, texts, strict=True), start=1)
    ]
    return Rows(rows, f"Parquet, label in {names[at[0]]!r}, text in {names[at[1]]!r}")


def _class_names(schema: "pyarrow.Schema", column: str) -> list[str]:
    """The names of a column's classes, from what the datasets library writes into a file's metadata."""
    try:
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        found = about["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):
        return []
    return [str(name) for name in found] if isinstance(found, list) else []


def _named(label: Any, classes: list[str]) -> Any:
    number = isinstance(label, int) and not isinstance(label, bool)
    return classes[label] if number and 0 <= label < len(classes) else label
