"""One process at a time in an experiment's folder, or one for each of its shards."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock

from headtohead.core.errors import InputError

LOCK_FILE = ".lock"


@contextmanager
def only_writer(directory: Path, shard: tuple[int, int] | None) -> Iterator[None]:
    """Make the experiment's folder and hold its lock, which the system drops when the process ends in any way.

    Shards of one experiment may share the folder; each holds a lock of its own, and nobody else writes beside them.
    """
    locks: list[filelock.FileLock] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        whole = filelock.FileLock(directory / LOCK_FILE)
        whole.acquire(timeout=0)
        locks.append(whole)
        mine = [directory / of_shard(LOCK_FILE, shard)] if shard else directory.glob(f"{LOCK_FILE}-*")
        for path in mine:
            locks.append(filelock.FileLock(path))
            locks[-1].acquire(timeout=0)
        if shard:
            whole.release()
    except filelock.Timeout:
        _release(locks)
        raise InputError(
            f"another process is running the experiment {directory}; wait for it to end, or choose another --name"
        ) from None
    except OSError as error:
        _release(locks)
        raise InputError(
            f"{directory} cannot be written ({error.strerror or error}); choose another --results-dir"
        ) from error
    try:
        yield
    finally:
        _release(locks)


def is_held(directory: Path, shard: tuple[int, int] | None = None) -> bool:
    """Whether a process has the folder, or its shard (I, N) of it, to itself now."""
    lock = filelock.FileLock(directory / of_shard(LOCK_FILE, shard))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    lock.release()
    return False


def _release(locks: Sequence[filelock.FileLock]) -> None:
    for lock in locks:
        lock.release()


def of_shard(name: str, shard: tuple[int, int] | None) -> str:
    """A file's name with the shard's own ending, where there is one."""
    return name if shard is None else f"{name}-{shard[0]}-of-{shard[1]}"
