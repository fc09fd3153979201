"""Energy that the machine's own counters show: RAPL for processors, NVML for NVIDIA devices; None where there is none.

A counter is of the whole package or device: what other processes do in the meantime is in it, too.
Sources: https://docs.kernel.org/power/powercap/powercap.html, nvmlDeviceGetTotalEnergyConsumption.
"""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True)
class Reading:
    """What one counter shows, in joules, and where it starts again from 0 (None: never)."""

    joules: float
    limit: float | None = None


def read_counters(device: str, powercap: Path = POWERCAP) -> list[Reading]:
    """Every counter of the processors, and on a CUDA device its own; empty where none may be read."""
    return [*_rapl(powercap), *(_nvml(device) if device.startswith("cuda") else [])]


def joules_between(before: Sequence[Reading], after: Sequence[Reading]) -> float | None:
    """What all counters have counted between two readings; None where there is no counter."""
    if not before or len(before) != len(after):
        return None
    total = 0.0
    for first, last in zip(before, after, strict=True):
        counted = last.joules - first.joules
        if counted < 0 and last.limit is not None:
            counted += last.limit  # it has started again from 0
        total += counted
    return total


def _rapl(powercap: Path) -> list[Reading]:
    """The packages ("intel-rapl:0", which AMD's have, too) without the parts that they include ("intel-rapl:0:1")."""
    readings = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        if zone.name.count(":") != 1:
            continue
        try:
            used, limit = (
                int((zone / name).read_text()) / 1e6 for name in ("energy_uj", "max_energy_range_uj")
            )
        except (OSError, ValueError):
            return []  # only root may read them on most systems
        readings.append(Reading(used, limit))
    return readings


def _nvml(device: str) -> list[Reading]:
    """The counter of a CUDA device, through the package nvidia-ml-py where it is installed."""
    if importlib.util.find_spec("pynvml") is None:
        return []
    pynvml: Any = importlib.import_module("pynvml")
    import torch

    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        return [Reading(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)]
    except pynvml.NVMLError:
        return []  # older devices have no such counter
