"""Labelled messages out of the bytes of a file: one format per file of this folder.

A format is a module with ``SUFFIXES``, the endings of its files in lower case, and
``read(content, file, columns) -> Rows``. It is found by being here; nothing else need be edited.
"""

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache

from headtohead.core.readers.rows import Columns, LabelledText, Rows

__all__ = ["Columns", "LabelledText", "Rows", "formats", "read_labelled_texts"]

Reader = Callable[[bytes, str, Columns], Rows]
USUAL_SUFFIX = ".csv"  # how a file is read whose ending says nothing


@cache
def formats() -> dict[str, Reader]:
    """Suffix -> what reads such a file."""
    modules = [
        importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)
    ]
    return {suffix: module.read for module in modules for suffix in getattr(module, "SUFFIXES", ())}


def read_labelled_texts(
    content: bytes,
    file: str,
    label_column: str | None = None,
    text_column: str | None = None,
    *,
    suffix: str = USUAL_SUFFIX,
) -> Rows:
    """The rows of a file in their order.

    Args:
        content: the file's bytes.
        file: how errors name the file.
        label_column, text_column: names of columns; without them the usual names are looked for.
        suffix: tells the format; any that is not in :func:`formats` is read as a table.

    Raises:
        InputError: what is wrong with the file, naming the line where there is one.
    """
    read = formats().get(suffix.lower(), formats()[USUAL_SUFFIX])
    return read(content, file, Columns(label_column, text_column))
