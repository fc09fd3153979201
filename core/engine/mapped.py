"""A tensor that lies in a file, of which only what was used lately takes memory.

Pages of a mapped file count as the process's memory once they are touched, and a pass over a large file would end with
all of it resident. What was touched is therefore handed back now and then: it stays in the file, and in the system's
cache where that has room.
"""

import mmap
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

RELEASE_AFTER = 64 * 2**20  # bytes touched; the system maps more around each of them


class MappedFile:
    """A float32 tensor over a file, which is made where it is missing.

    Attributes:
        tensor: of the given shape; writing to it writes to the file.
    """

    def __init__(self, path: Path, shape: tuple[int, int]) -> None:
        if not path.exists():
            with path.open("wb") as file:
                file.truncate(4 * shape[0] * shape[1])
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 4 * shape[0] * shape[1])
        self.tensor: Tensor = torch.from_numpy(np.frombuffer(self._map, dtype=np.float32).reshape(shape))
        self._touched = 0

    def touched(self, size: int) -> None:
        """So many bytes were read or written; from time to time their pages are handed back."""
        self._touched += size
        if self._touched > RELEASE_AFTER:
            self._touched = 0
            self.release()

    def release(self) -> None:
        """Hand back the memory of all pages; what they hold stays in the file."""
        if hasattr(mmap, "MADV_DONTNEED"):  # Linux and macOS
            self._map.madvise(mmap.MADV_DONTNEED)
