"""How the C library's allocator treats the large tensors of a step on the CPU.

By default glibc gives large blocks back to the system when they are freed, and a training step frees and takes the
same gigabytes again and again: each time every page is mapped and cleared anew. Kept in the process they cost
nothing. Numbers do not change; memory that was used once stays resident until it is trimmed between runs.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEEP = 2**31 - 1  # bytes


def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees; False where the C library offers no such setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library than glibc
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, KEEP // 2) and mallopt(M_TRIM_THRESHOLD, KEEP))
