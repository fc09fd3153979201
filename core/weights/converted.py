"""The cache of converted weights: safetensors that are checked, loaded in a moment, and made again if damaged."""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from headtohead.core.errors import InputError
from headtohead.core.files import CACHE_FIX, cache_dir, file_errors, scratch_folder, write_text_atomic
from headtohead.core.json_files import read_object
from headtohead.core.weights.pretrained import Tensors, tensors_sha256

PIECE_BYTES = 4 * 1024 * 1024


def read(path: Path, sha256: str) -> Tensors:
    """The tensors of a converted file, as a private memory map: pages are copied when written to.

    Raises:
        InputError: it is not the file whose weights had that hash.
    """
    if intact_sha256(path) != sha256:
        raise InputError(f"{path} was removed or damaged after it was checked; run the command again")
    return load_file(path)


def ensure(name: str, key: str, what: str, convert: Callable[[], Tensors]) -> tuple[Path, str]:
    """The converted copy of a checkpoint and the hash of its weights; made where it is missing or damaged.

    Args:
        name: the model's, for the file's name.
        key: identifies the checkpoint and how it is converted.
        what: what is converted, and by what, as it is said to the user.
        convert: gives the tensors.
    """
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name)
    path = cache_dir() / "weights" / f"{safe[:40]}-{key}.safetensors"
    sha256 = intact_sha256(path)
    if sha256 is None:
        why = f"The converted copy {path} is damaged: converting" if path.exists() else "Converting"
        print(f"{why} {what}; the next load is immediate.", file=sys.stderr)
        sha256 = store(convert(), path)
    return path, sha256


def store(tensors: Tensors, path: Path) -> str:
    """Write tensors and, beside them, what identifies weights and file; returns the weights' hash.

    Several processes may do this at once: each renames a whole file into place, and all write the same bytes.
    """
    hashes = {"weights_sha256": tensors_sha256(tensors)}
    try:
        with (
            file_errors(f"writing {path}", f"free some space, or {CACHE_FIX}"),
            scratch_folder(path.parent) as scratch,
        ):
            temporary = scratch / path.name
            save_file(tensors, temporary)
            hashes["file_fingerprint"] = _fingerprint(temporary, temporary.stat().st_size)
            os.replace(temporary, path)
            write_text_atomic(path.with_suffix(".json"), json.dumps(hashes, indent=2) + "\n")
    except SafetensorError as error:
        raise InputError(f"{path} cannot be written ({error}); free some space, or {CACHE_FIX}") from error
    return hashes["weights_sha256"]


def intact_sha256(path: Path) -> str | None:
    """The hash of the weights in a converted file; None where it is missing or not as it was written."""
    notes = path.with_suffix(".json")
    if not path.is_file() or not notes.is_file():
        return None
    try:
        hashes = read_object(notes, "")
        weights_sha256, written = str(hashes["weights_sha256"]), hashes["file_fingerprint"]
    except (InputError, KeyError):
        return None  # the notes are damaged: the caller converts again and says so
    return weights_sha256 if fingerprint(path) == written else None


def fingerprint(path: Path) -> str:
    """Identifies a file's bytes; hashed once per process and state of the file."""
    status = path.stat()
    return _fingerprint_once(path, status.st_size, status.st_mtime_ns)


@lru_cache
def _fingerprint_once(path: Path, size: int, modified_ns: int) -> str:
    """One check per process and state of the file, however many models are built from it."""
    return _fingerprint(path, size)


def _fingerprint(path: Path, size: int) -> str:
    """SHA-256 over the SHA-256 of each piece: the pieces are hashed on all cores, hashlib frees the GIL."""

    def hash_piece(offset: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return hashlib.sha256(file.read(PIECE_BYTES)).digest()

    with ThreadPoolExecutor() as pool:
        pieces = pool.map(hash_piece, range(0, size, PIECE_BYTES))
        return hashlib.sha256(b"".join(pieces)).hexdigest()
