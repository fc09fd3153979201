"""A data set of the Hugging Face Hub, through the datasets library, which is imported for it alone."""

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Any

from headtohead.core.errors import InputError, Unavailable
from headtohead.core.readers.parquet import INSTALL
from headtohead.core.readers.rows import SPLIT_NAMES, Columns, Rows, find_columns, row_of

MOST_ROWS = 2_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)?")


def read_hub(
    wanted: str, columns: tuple[str | None, str | None], download: bool
) -> tuple[str, dict[str, Rows]]:
    """``NAME[:CONFIG]`` -> a short name, and split -> rows; the numbers of classes get their names.

    Raises:
        Unavailable: the set is not on this machine and cannot be downloaded.
        InputError: the library is not installed, there is no such set, or it has no such columns.
    """
    name, _, config = wanted.partition(":")
    if not NAME.fullmatch(name):
        raise InputError(
            f"--data hf:{wanted}: not a name of the Hub; write hf:NAME or hf:NAME:CONFIG, as in hf:ag_news"
        )
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"--data hf:{wanted} needs the datasets library, which is not installed; {INSTALL}"
        ) from error
    with _offline(datasets, not download):
        found = _load(datasets, name, config, wanted)
    splits = {
        SPLIT_NAMES[split]: _rows(part, f"hf:{wanted}, {split}", Columns(*columns))
        for split, part in found.items()
        if split in SPLIT_NAMES
    }
    if not splits:
        raise InputError(
            f"hf:{wanted} has the splits {', '.join(found)}; none of them is train, validation or test"
        )
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.rpartition("/")[2]), _whole(splits)


def _whole(splits: dict[str, Rows]) -> dict[str, Rows]:
    """Splits that can be used: without test rows, validation takes their place, or all rows are split anew."""
    if "test" not in splits and {"train", "validation"} <= set(splits):
        splits["test"] = splits.pop("validation")
    if len(splits) == 1:
        return {"": next(iter(splits.values()))}
    return splits


@contextlib.contextmanager
def _offline(datasets: Any, offline: bool) -> Iterator[None]:
    """The library asks two switches; both are put back."""
    if not offline:
        yield
        return
    before, variable = datasets.config.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")
    datasets.config.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] = True, "1"
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before
        if variable is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = variable


def _load(datasets: Any, name: str, config: str, wanted: str) -> Any:
    try:
        return datasets.load_dataset(name, config or None)
    except ValueError as error:  # a config that is missing or unknown; the library lists those there are
        raise InputError(f"--data hf:{wanted}: {' '.join(str(error).split())[:300]}") from error
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise Unavailable(
            f"--data hf:{wanted} is neither on this machine nor could it be downloaded ({reason}); check the name and "
            "the network, or give a local file with --data FILE"
        ) from error


def _rows(part: Any, where: str, chosen: Columns) -> Rows:
    names = list(part.column_names)
    label_at, text_at = find_columns(names, chosen, where)
    label, text = names[label_at], names[text_at]
    if len(part) > MOST_ROWS:
        raise InputError(f"{where} has {len(part):,} rows; at most {MOST_ROWS:,} are read")
    classes = getattr(part.features[label], "names", None)
    rows = []
    for number, (value, message) in enumerate(zip(part[label], part[text], strict=True), start=1):
        named = classes[value] if classes and isinstance(value, int) and 0 <= value < len(classes) else value
        rows.append(row_of(named, message, f"{where}, row {number}"))
    return Rows(rows, f"Hugging Face Hub, label in {label!r}, text in {text!r}")
