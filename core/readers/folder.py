"""A folder per class of .txt files, alone or below folders named train and test, in a folder or a tar file.

reviews/pos/1.txt  reviews/neg/1.txt          one set of messages, to be split
reviews/train/pos/1.txt  reviews/test/pos/1.txt   with its own splits (validation likewise)
"""

import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from headtohead.core.errors import InputError
from headtohead.core.readers.encoding import decode
from headtohead.core.readers.rows import LARGEST_FILE, SPLIT_NAMES, LabelledText, Rows

ALL = ""  # the name of rows that belong to no split yet
UNLABELLED = ("unsup",)  # IMDb's folder of reviews without a class
MOST_FILES = 1_000_000
LARGEST_TEXT = 10_000_000  # bytes of one message
SHAPE = "give a folder with one folder of .txt files for each class, or such folders below train/ and test/"
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def read_folder(folder: Path) -> dict[str, Rows]:
    """Split -> rows of a folder, by class and file name; :data:`ALL` is the only key where it has no splits.

    Raises:
        InputError: no such folders or files, a file that is no text, or splits beside classes.
    """
    return _arranged(_files_of(folder), str(folder))


def read_tar(path: Path) -> dict[str, Rows]:
    """The same of a tar file, read as a stream: no name in it ever becomes a path on this machine.

    Raises:
        InputError: as :func:`read_folder`, or a damaged tar file.
    """
    try:
        with tarfile.open(path, "r:*") as archive:
            return _arranged(_members_of(archive, path), str(path))
    except InputError:
        raise
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120] or "it ends too early"
        raise InputError(
            f"{path} is no tar file that can be read ({reason!a}); download or copy it again"
        ) from error


def _files_of(folder: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    paths = sorted(path for path in folder.glob("**/*.txt") if path.is_file() and not path.is_symlink())
    for path in paths:
        where = PurePosixPath(path.relative_to(folder).as_posix())
        if len(where.parts) >= 2:
            with path.open("rb") as file:
                yield where, file.read(LARGEST_TEXT + 1)


def _members_of(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    for number, member in enumerate(archive):
        if number > MOST_FILES:
            raise InputError(f"{path} holds more than {MOST_FILES:,} files, the most that is read")
        where = PurePosixPath(member.name)
        if not member.isfile() or where.suffix != ".txt" or len(where.parts) < 2:
            continue
        file = archive.extractfile(member)
        if file is not None:
            yield where, file.read(LARGEST_TEXT + 1)


def _arranged(files: Iterable[tuple[PurePosixPath, bytes]], source: str) -> dict[str, Rows]:
    found: dict[tuple[str, str], list[tuple[str, LabelledText]]] = {}
    size = 0
    for where, content in files:
        split, label = _place(where)
        if label in UNLABELLED:
            continue
        size += len(content)
        if len(content) > LARGEST_TEXT or size > LARGEST_FILE:
            most = LARGEST_TEXT if len(content) > LARGEST_TEXT else LARGEST_FILE
            raise InputError(f"{source}: {where.name!a} brings it over {most:,} bytes, the most that is read")
        text, _ = decode(content, f"{source}, {where.name!a}")
        if not text.strip():
            raise InputError(f"{source}: {str(where)!a} is empty; write the message into it or delete it")
        found.setdefault((split, label), []).append((str(where), LabelledText(label, text)))
    return _by_split(found, source)


def _by_split(found: dict[tuple[str, str], list[tuple[str, LabelledText]]], source: str) -> dict[str, Rows]:
    splits = sorted({split for split, _ in found})
    if not found:
        raise InputError(f"{source} holds no .txt files in folders; {SHAPE}")
    if ALL in splits and len(splits) > 1:
        raise InputError(f"{source} holds classes beside the folder {splits[1]}; {SHAPE}")
    how = "a folder of .txt files for each class"
    return {
        split: Rows(
            (row for key in sorted(found) if key[0] == split for _, row in sorted(found[key], key=_by_name)),
            how,
        )
        for split in splits
    }


def _by_name(file: tuple[str, LabelledText]) -> str:
    return file[0]


def _place(where: PurePosixPath) -> tuple[str, str]:
    """The split and the class of a file: the folder that it is in, and the folder above it."""
    label = re.sub(r"\s+", " ", where.parts[-2]).strip()
    above = where.parts[-3].lower() if len(where.parts) > 2 else ""
    return SPLIT_NAMES.get(above, ALL), label
