"""Where an experiment ran: versions, hardware, and the device's name."""

import importlib.metadata
import os
import platform
from typing import Any

from headtohead.core.device import processor_name

PACKAGES = (
    "torch", "peft", "transformers", "tiktoken", "numpy", "pandas", "scikit-learn", "safetensors",
    "tensorflow", "tensorflow-cpu",
)  # fmt: skip


def describe_environment(device: str) -> dict[str, Any]:
    """Versions and hardware as a flat dictionary; what is not known is left out, memory is in bytes."""
    import torch

    found: dict[str, Any] = {
        "headtohead": _version("headtohead"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": processor_name(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "memory_bytes": _memory_bytes(),
        "device": device,
        **_accelerator(device),
        **{name: _version(name) for name in PACKAGES},
    }
    return {key: value for key, value in found.items() if value is not None}


def device_name(device: str) -> str:
    """``cuda:0`` -> ``cuda:0 (NVIDIA H200)``, ``cpu`` -> ``cpu (name, 8 cores)``."""
    if device.startswith("cuda"):
        return f"{device} ({_accelerator(device)['accelerator']})"
    details = [part for part in (processor_name(), f"{_cores()} cores") if part]
    return f"{device} ({', '.join(details)})" if device == "cpu" else device


def _accelerator(device: str) -> dict[str, Any]:
    import torch

    if not device.startswith("cuda"):
        return {}
    properties = torch.cuda.get_device_properties(device)
    return {
        "accelerator": properties.name,
        "accelerator_memory_bytes": properties.total_memory,
        "cuda": torch.version.cuda,
    }


def _cores() -> int | None:
    """Cores that this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
