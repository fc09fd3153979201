"""The device that a --device flag means."""

import platform
import re
from pathlib import Path

from headtohead.core.errors import InputError, shown


def resolve_device(wanted: str) -> str:
    """``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps`` -> a device that is there; auto takes the fastest.

    Raises:
        InputError: that is no device, it is not on this machine, or this torch cannot use it.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,4})?", wanted):
        raise InputError(f"--device {shown(wanted)}: choose one of auto, cpu, cuda, cuda:N and mps")
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if wanted.startswith("cuda"):
        _check_cuda(wanted)
    if wanted == "mps" and not torch.backends.mps.is_available():
        raise InputError(
            "--device mps: this machine or this torch has no Apple GPU; use --device cpu or auto"
        )
    return wanted


def bf16_units() -> str | None:
    """What of this processor multiplies in bfloat16; None where nothing does, and it is slower than float32."""
    import torch

    asked = {"AMX": "_is_amx_tile_supported", "AVX512_BF16": "_is_avx512_bf16_supported"}
    for name, function in asked.items():
        if getattr(torch.cpu, function, lambda: False)():
            return name
    information = Path("/proc/cpuinfo")  # of an ARM processor
    features = information.read_text(encoding="utf-8", errors="replace") if information.is_file() else ""
    arm = re.search(r"^Features\s*:.*\bbf16\b", features, re.MULTILINE)
    return "BF16 of ARM" if arm else None


def check_bf16() -> None:
    """InputError unless this processor multiplies in bfloat16 faster than in float32."""
    if bf16_units() is None:
        raise InputError(
            f"--precision bf16: this processor ({processor_name() or 'unknown'}) has no units for it (AVX512_BF16 or "
            "AMX), and would be slower than with fp32; use --precision fp32"
        )


def processor_name() -> str | None:
    """What this machine's processor is called; None where nobody says."""
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _check_cuda(wanted: str) -> None:
    import torch

    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
        raise InputError(
            f"--device {wanted}: torch finds no NVIDIA GPU here (torch {torch.__version__}, {built}); "
            "use --device cpu or auto"
        )
    count = torch.cuda.device_count()
    index = wanted.partition(":")[2]
    if index and int(index) >= count:
        raise InputError(
            f"--device {wanted}: there are {count} GPUs here; use cuda:0 to cuda:{count - 1}, or auto"
        )
