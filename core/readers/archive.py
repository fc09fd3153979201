"""The one table in a zip file, read into memory: no name in the zip ever becomes a path on this machine."""

import lzma
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from headtohead.core.errors import InputError
from headtohead.core.readers.rows import LARGEST_FILE

DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def unpack(path: Path, preferred: str, suffixes: Iterable[str]) -> tuple[str, bytes]:
    """The name and the content of the member called ``preferred``, else of the only one with such an ending.

    Raises:
        InputError: no zip, a damaged or encrypted one, no such member or several, or one that is too large.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = _table_member(path, archive.namelist(), preferred, tuple(suffixes))
            with archive.open(member) as file:
                # The size in the zip's directory may lie, so what is really unpacked is limited as well.
                content = file.read(LARGEST_FILE + 1)
    except InputError:
        raise
    except (*DAMAGE, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise InputError(
            f"{path} is no zip file that can be read ({reason}); download or copy it again"
        ) from error
    if len(content) > LARGEST_FILE:
        raise InputError(
            f"{member} in {path} unpacks to more than {LARGEST_FILE:,} bytes, the most that is read; "
            "unpack it yourself and give a smaller table"
        )
    return member, content


def _table_member(path: Path, names: list[str], preferred: str, suffixes: tuple[str, ...]) -> str:
    files = [name for name in names if not name.endswith("/") and not name.startswith("__MACOSX/")]
    named = [name for name in files if name.rpartition("/")[2] == preferred]
    tables = named or [name for name in files if name.lower().endswith(suffixes)]
    if len(tables) == 1:
        return tables[0]
    held = ", ".join(tables[:5] or files[:5]) or "nothing"
    raise InputError(
        f"{path} must hold {preferred} or exactly one {' or '.join(suffixes)} file, but holds {held}; "
        "unpack it and give the file you mean"
    )
