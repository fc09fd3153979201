"""Labelled messages from wherever they are: one set that is yet to be split, or the splits that a source brings.

find("sms_spam")  find("imdb")  find("demo")  find("mails.csv")  find("reviews/")  find("hf:ag_news")
find(None, {"train": "a.csv", "test": "b.csv"})
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headtohead.core import sources
from headtohead.core.errors import InputError
from headtohead.core.files import file_errors
from headtohead.core.readers import Rows, formats, read_labelled_texts
from headtohead.core.readers.folder import ALL, TAR_SUFFIXES, read_folder, read_tar
from headtohead.core.readers.rows import SPLIT_NAMES

HUB = "hf:"
FIX = "check the file and its permissions, or give another with --data"


@dataclass(frozen=True)
class Messages:
    """Rows and what is known about them.

    Attributes:
        name: "sms_spam", "imdb", "demo", or the stem of the file or folder.
        file: how errors name where they came from.
        description: one sentence without a full stop on the origin, with the licence where that is known.
        splits: train, validation and test, or train and test; :data:`ALL` alone where they are yet to be split.
        balanced: whether the protocol of this set balances its classes, however many rows that throws away.
    """

    name: str
    file: str
    description: str
    splits: dict[str, Rows]
    is_demo: bool = False
    balanced: bool = False

    @property
    def rows(self) -> Rows:
        """The rows of all splits, training first."""
        return Rows(row for name in sorted(self.splits, key=_place) for row in self.splits[name])

    @property
    def how(self) -> str:
        """How the files were understood."""
        return "; ".join(dict.fromkeys(rows.how for rows in self.splits.values() if rows.how))


def _place(split: str) -> int:
    return [ALL, "train", "validation", "test"].index(split)


def find(
    data: str | None,
    files: Mapping[str, str] | None = None,
    *,
    label_column: str | None = None,
    text_column: str | None = None,
    download: bool = True,
) -> Messages:
    """The messages that ``data`` or one file per split names.

    Raises:
        Unavailable: a set that has to be downloaded and cannot be.
        InputError: no such file, or one that cannot be understood.
    """
    columns = (label_column, text_column)
    if files:
        return _split_files(files, columns)
    if data is not None and data.startswith(HUB):
        from headtohead.core.readers.hub import read_hub

        name, splits = read_hub(data.removeprefix(HUB), columns, download)
        return Messages(name, data, f"{data.removeprefix(HUB)} from the Hugging Face Hub", splits)
    if data == sources.IMDB_NAME:
        return _imdb(sources.imdb_archive(download), data)
    path = Path(data).expanduser() if data else None
    if path is not None and path.is_dir():
        return _folder(path, columns)
    if path is not None and path.name.lower().endswith(TAR_SUFFIXES) and path.is_file():
        return _imdb(path, str(data)) if sources.is_imdb(path) else _tar(path)
    source = sources.find(data, download=download)
    rows = read_labelled_texts(source.content, source.file, *columns, suffix=source.suffix)
    balanced = source.name == sources.SMS_NAME
    return Messages(source.name, source.file, source.description, {ALL: rows}, source.is_demo, balanced)


def _imdb(path: Path, file: str) -> Messages:
    """All 50,000 reviews as one set, in the order of the book's bonus: test before train, pos before neg."""
    splits = read_tar(path)
    order = [(split, label) for split in ("test", "train") for label in ("pos", "neg")]
    rows = Rows(
        (row for split, label in order for row in splits.get(split, []) if row.label == label),
        "a folder of .txt files for each class; train and test are put together and split as the book's bonus does",
    )
    return Messages(sources.IMDB_NAME, file, sources.IMDB_CREDIT, {ALL: rows})


def _tar(path: Path) -> Messages:
    name = path.name.partition(".")[0]
    return Messages(
        name, str(path), f"the local file {path.name}", _checked_splits(read_tar(path), str(path))
    )


def _folder(path: Path, columns: tuple[str | None, str | None]) -> Messages:
    """A folder per class, or files that are named after the splits."""
    named = {
        SPLIT_NAMES[each.stem.lower()]: str(each)
        for each in sorted(path.iterdir())
        if each.is_file() and each.stem.lower() in SPLIT_NAMES and each.suffix.lower() in formats()
    }
    if named:
        return _split_files(named, columns, path.resolve().name)
    with file_errors(f"reading the messages in {path}", FIX):
        splits = _checked_splits(read_folder(path), str(path))
    return Messages(path.resolve().name, str(path), f"the local folder {path.resolve().name}", splits)


def _split_files(
    files: Mapping[str, str], columns: tuple[str | None, str | None], name: str | None = None
) -> Messages:
    found = {split: sources.find(file) for split, file in files.items()}
    splits = {
        split: read_labelled_texts(each.content, each.file, *columns, suffix=each.suffix)
        for split, each in found.items()
    }
    listed = ", ".join(Path(file).name for file in files.values())
    name = name or Path(files.get("train", next(iter(files.values())))).stem
    return Messages(name, listed, f"the local files {listed}", _checked_splits(splits, listed))


def _checked_splits(splits: dict[str, Rows], file: str) -> dict[str, Rows]:
    if ALL not in splits and not {"train", "test"} <= set(splits):
        missing = "test" if "train" in splits else "train"
        raise InputError(
            f"{file} brings its own splits but no {missing} rows; give both, as in --train FILE --test FILE "
            "(validation is drawn from train where it is missing)"
        )
    return splits
