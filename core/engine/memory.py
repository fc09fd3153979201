"""Peak memory of one run: resident memory of the process on the CPU, allocated memory on an accelerator."""

import ctypes
import gc
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def reset_peak_memory(device: str) -> bool:
    """Start a new peak; False where the system cannot (the peak then covers the whole process so far)."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if not _CLEAR.exists():
        return False
    # Pages that an earlier run has freed would otherwise still be resident and count for this one.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR.write_text("5")  # 5 resets the peak, see proc(5)
    except OSError:
        return False
    return True


def peak_memory_bytes(device: str) -> int | None:
    """The largest memory in use since :func:`reset_peak_memory`; None where the system does not tell."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return _peak_of_process()


def _peak_of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere
