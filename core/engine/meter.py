"""Time per part and peak memory of a run.

Memory is the resident memory of the process on the CPU, and allocated memory on a CUDA device.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from headtohead.core.engine.energy import joules_between, read_counters

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Meter:
    """Seconds spent per part of a run, and the most memory in use since the meter was made."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.joules: dict[str, float] = {}  # empty where the machine has no counter
        self.exact_peak = _reset_peak_memory(device)
        self._earlier = 0  # bytes: the peak before training began
        self._loaded: int | None = None  # bytes in use when it began

    def forget_peak(self) -> None:
        """Begin a new peak: what was in use so far belongs to no run."""
        self.exact_peak = _reset_peak_memory(self.device)

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time and the energy of a ``with`` block to a part; waits for the device before and after."""
        start, counters = self._now(), read_counters(self.device)
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + self._now() - start
        used = joules_between(counters, read_counters(self.device))
        if used is not None:
            self.joules[part] = self.joules.get(part, 0.0) + used

    def start_training(self) -> None:
        """The model is loaded, and what is computed once is there: what comes on top belongs to training."""
        self._earlier = self.peak_memory_bytes() or 0
        if _reset_peak_memory(self.device):
            self._loaded = self._peak()  # just reset: what is in use now

    def peak_memory_bytes(self) -> int | None:
        """The largest memory in use so far; None where the system does not tell."""
        peak = self._peak()
        return None if peak is None else max(peak, self._earlier)

    def memory_above_model_bytes(self) -> int | None:
        """What training has needed above the loaded model: gradients, optimizer, activations.

        Earlier runs of the process do not count, nor does the comparison of the plan. None where it is not known.
        """
        peak = self._peak()
        return None if peak is None or self._loaded is None else peak - self._loaded

    def _peak(self) -> int | None:
        if self.device.startswith("cuda"):
            return int(torch.cuda.max_memory_allocated(self.device))
        if _STATUS.exists():
            line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        return _peak_of_process()

    def _now(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def _reset_peak_memory(device: str) -> bool:
    """Start a new peak; False where the system cannot (the peak then covers the whole process so far)."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if not _CLEAR.exists():
        return False
    # Pages that an earlier run has freed would otherwise still be resident and count for this one.
    getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)(0)  # glibc only
    try:
        _CLEAR.write_text("5")  # 5 resets the peak, see proc(5)
    except OSError:
        return False
    return True


def _peak_of_process() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere
