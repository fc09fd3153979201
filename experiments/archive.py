"""An experiment as one zip file that another machine can open: packed and unpacked without its classifiers."""

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from headtohead.core.errors import InputError
from headtohead.core.files import file_errors, write_bytes_atomic
from headtohead.experiments.folder import EXPERIMENT_FILE, read_description

LARGEST = 2**31  # bytes of all files unpacked: far more than records are, far less than would fill a disk
MOST = 100_000  # files
DATE = (1980, 1, 1, 0, 0, 0)  # of every entry, so that the same folder gives the same file


def members(directory: Path) -> list[Path]:
    """The files of an experiment that are shared: the report, the data, and each run's files but its classifier."""
    found = [path for path in directory.iterdir() if path.is_file() and not path.name.startswith(".")]
    for name in ("data", "plots"):
        found += [path for path in (directory / name).rglob("*") if path.is_file()]
    found += [
        path
        for run in (directory / "runs").glob("*")
        if not run.name.startswith(".") and run.is_dir()
        for path in run.iterdir()
        if path.is_file()
    ]
    return sorted(found)


def pack(directory: Path, target: Path) -> int:
    """Write the experiment in ``directory`` to the zip file ``target``, whole or not at all; returns its bytes.

    Raises:
        InputError: no experiment is there, or the file cannot be written.
    """
    import io

    read_description(directory)
    with file_errors(f"packing {directory}", "check the folder and the space on the disk"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in members(directory):
                entry = zipfile.ZipInfo(f"{directory.name}/{path.relative_to(directory).as_posix()}", DATE)
                entry.external_attr = 0o644 << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())
        write_bytes_atomic(target, buffer.getvalue())
    return target.stat().st_size


def unpack(source: Path, target: Path) -> Path:
    """Unpack a shared experiment below the folder ``target``; returns the experiment's folder.

    Raises:
        InputError: no zip file, one with paths that lead elsewhere or links, one far too large, or no experiment in it.
    """
    fix = "ask for a file made by `python -m headtohead.experiments.share`"
    try:
        with file_errors(f"unpacking {source}", fix), zipfile.ZipFile(source) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            for entry in entries:
                _check(source, entry)
            if sum(entry.file_size for entry in entries) > LARGEST or len(entries) > MOST:
                raise InputError(f"{source} unpacks to more than an experiment holds; {fix}")
            for entry in entries:
                place = target / entry.filename
                place.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as packed, place.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
    ) as error:  # damaged, or another compression
        raise InputError(f"{source} is no zip file that can be read ({error}); {fix}") from error
    found = sorted(target.glob(f"*/{EXPERIMENT_FILE}"))
    if len(found) != 1:
        raise InputError(f"{source} holds {len(found)} experiments and must hold one; {fix}")
    return found[0].parent


def _check(source: Path, entry: zipfile.ZipInfo) -> None:
    """InputError for an entry that would be written outside the folder, or that is no plain file."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    link = stat.S_ISLNK(entry.external_attr >> 16)
    if path.is_absolute() or ".." in path.parts or ":" in entry.filename or link or not path.name:
        raise InputError(
            f"{source}: the entry {entry.filename!a} is no plain file inside it; do not trust this file"
        )
