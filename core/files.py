"""Files written whole or not at all, and the folder where downloads are kept."""

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from headtohead.core.errors import InputError

CACHE_FIX = "set the environment variable HEADTOHEAD_CACHE to a folder that can be written"
SCRATCH = ".scratch"


def cache_dir() -> Path:
    """The user's cache folder for headtohead, which need not exist; HEADTOHEAD_CACHE overrides it.

    Raises:
        InputError: it is a file.
    """
    chosen = os.environ.get("HEADTOHEAD_CACHE")
    folder = Path(os.path.expanduser(chosen or platformdirs.user_cache_dir("headtohead")))
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InputError(f"the cache folder {folder} is a file; {CACHE_FIX}")
    return folder


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary sibling, then rename it to ``path``, so a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        # mkstemp makes private files; results are meant to be read by others as any new file is.
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_text_atomic(path: Path, text: str) -> None:
    """:func:`write_bytes_atomic` for text, as UTF-8 with the newlines it has."""
    write_bytes_atomic(path, text.encode("utf-8"))


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a folder to fill; on success it takes the place of ``path``, on failure it is removed."""
    with scratch_folder(path.parent) as scratch:
        filled = scratch / path.name
        filled.mkdir()
        yield filled
        if path.exists():
            shutil.rmtree(path)
        os.replace(filled, path)


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder below ``parent`` that is removed at the end, by a later call if this process is killed.

    Beside the folder lies a file that its process keeps locked: a lock outlives no process, so a folder whose lock
    is free is a leftover.
    """
    parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(parent / SCRATCH)
    folder, lock = _owned_folder(parent / SCRATCH)
    try:
        yield folder
    finally:
        _remove(folder, lock)


def _owned_folder(scratch: Path) -> tuple[Path, FileLock]:
    for _ in range(100):
        folder = scratch / uuid.uuid4().hex
        lock = FileLock(_lock_file(folder))
        # Another process may remove the scratch folder, just now empty, or the file before it is locked.
        with suppress(FileNotFoundError, FileExistsError):
            scratch.mkdir(exist_ok=True)
            lock.acquire()
            if _lock_file(folder).exists():
                folder.mkdir()
                return folder, lock
        lock.release()
    raise OSError(errno.EBUSY, "other processes keep removing it", str(scratch))


def _remove_leftovers(scratch: Path) -> None:
    names: list[str] = []
    with suppress(FileNotFoundError):
        names = os.listdir(scratch)
    for file in (scratch / name for name in names if name.endswith(".lock")):
        lock = FileLock(file)
        try:
            lock.acquire(timeout=0)
        except (
            Timeout,
            FileNotFoundError,
            FileExistsError,
        ):  # in use, or removed by another process just now
            continue
        _remove(file.with_suffix(""), lock)


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.name == "posix":
        _lock_file(folder).unlink(missing_ok=True)  # while it is locked, so that nobody locks it in vain
    lock.release()
    with suppress(OSError):  # on other systems a file in use cannot be removed
        _lock_file(folder).unlink(missing_ok=True)
    with suppress(OSError):
        folder.parent.rmdir()  # other processes' folders keep it


def _lock_file(folder: Path) -> Path:
    return folder.with_suffix(".lock")


@contextmanager
def file_errors(what: str, fix: str) -> Iterator[None]:
    """Turn what the file system refuses into one sentence: ``what`` was to be done, and the ``fix``.

    Raises:
        InputError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        name = "" if error.filename is None else f"{error.filename}: "
        raise InputError(f"{what} is not possible ({name}{error.strerror or error}); {fix}") from error


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
