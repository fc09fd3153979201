"""JSON Lines: an object per line, with the label and the text among its keys."""

import json
from collections.abc import Iterator
from typing import Any

from headtohead.core.errors import InputError, shown
from headtohead.core.readers.encoding import decode
from headtohead.core.readers.rows import Columns, Rows, find_columns, row_of

SUFFIXES = (".jsonl", ".ndjson")
EXAMPLE = '{"label": "ham", "text": "see you at eight"}'


def read(content: bytes, file: str, chosen: Columns) -> Rows:
    """The rows of a JSON Lines file; blank lines are skipped, labels may be texts, numbers or true and false.

    Raises:
        InputError: a line that is no JSON object, no such keys, or a row without label or text.
    """
    text, encoding = decode(content, file)
    found = list(objects(text, file, EXAMPLE))
    if not found:
        raise InputError(f"{file} is empty; write one JSON object per line, with a label and a text")
    names = list(dict.fromkeys(name for _, each in found for name in each))
    label_at, text_at = find_columns(names, chosen, file)
    label, message = names[label_at], names[text_at]
    rows = [row_of(each.get(label), each.get(message), f"{file}, line {line}") for line, each in found]
    return Rows(rows, f"JSON Lines in {encoding}, label in {label!r}, text in {message!r}")


def objects(text: str, file: str, example: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The object on each line that is not blank, with the line's number.

    Raises:
        InputError: a line that is no JSON object; ``example`` is one.
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{file}, line {number} is no JSON ({str(error).splitlines()[0]}); write one object per line, such as "
                + example
            ) from error
        if not isinstance(value, dict):
            raise InputError(
                f"{file}, line {number} is {shown(value)} instead of a JSON object such as {example}"
            )
        yield number, value
