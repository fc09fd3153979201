"""Where the runs happen, and how they are computed."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from headtohead.core.errors import InputError
from headtohead.experiments.flags import (
    check_count,
    check_folder,
    flag,
    read_count,
    read_number,
    read_path,
    read_size,
)
from headtohead.strategies import did_you_mean

LauncherName = Literal["local", "ray"]
Precision = Literal["fp32", "tf32", "bf16"]
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,4})?|mps")
_LARGEST_GPUS = 1024  # that one run may ask for


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/8"`` -> ``(2, 8)``: the second of eight parts."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--shard {text}: not I/N with I from 1 to N, as in --shard 2/8")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Where and how to compute."""

    device: str = flag("auto", "--device", "auto, cpu, cuda, cuda:N or mps (default: auto)", "NAME")
    precision: Precision = flag(
        "fp32",
        "--precision",
        "fp32 (default; the only one that claims the book's numbers), tf32 or bf16",
        "NAME",
    )
    half_prefix: bool = flag(
        False, "--bf16-prefix", "with --precision bf16, compute what is frozen in bfloat16, too"
    )
    reference: bool = flag(False, "--reference", "compute everything the plain, slow way")
    cache: bool = flag(
        True,
        "--no-cache",
        "compute the frozen blocks again at every step instead of once per message",
        off=True,
    )
    cache_dir: Path | None = flag(
        None,
        "--cache-dir",
        "keep what the frozen blocks computed there, so that tomorrow's run starts training at once",
        "DIR",
        read_path,
    )
    cache_budget: int | None = flag(
        None,
        "--cache-budget",
        "memory for it, such as 500MB; beyond it a memory-mapped file is used (default: half of what is free)",
        "SIZE",
        read_size,
    )
    compile: bool = flag(
        False,
        "--compile",
        "compile what is left with torch.compile: seconds to minutes at the start, a few percent per step",
    )
    recompute: bool = flag(
        False,
        "--checkpoint-activations",
        "compute blocks again in the backward pass instead of keeping them: less memory, a third more time",
    )
    together: bool = flag(
        True,
        "--one-at-a-time",
        "never run several seeds at once; their times are then those of runs alone",
        off=True,
    )

    isolate: bool = flag(
        False,
        "--isolate",
        "do each run in a process of its own: no time or memory depends on what ran before (nothing is shared)",
    )

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise InputError(
                f"--precision {self.precision}: {did_you_mean(self.precision, get_args(Precision))}"
            )
        if not _DEVICE.fullmatch(self.device):
            raise InputError(
                f"--device {self.device}: no such device; use auto, cpu, cuda, cuda:N (cuda:0) or mps"
            )
        self._check_switches()
        if self.cache_dir is not None:
            check_folder("--cache-dir", self.cache_dir)

    def _check_switches(self) -> None:
        """Refuse what contradicts each other instead of ignoring half of it."""
        keeps = {
            f"--cache-dir {self.cache_dir}": self.cache_dir,
            f"--cache-budget {self.cache_budget}": self.cache_budget,
        }
        for words, value in keeps.items():
            if value is not None and not self.cache:
                raise InputError(f"--no-cache keeps nothing; leave out either it or {words}")
            if value is not None and self.reference:
                raise InputError(f"--reference keeps nothing; leave out either it or {words}")
        if self.half_prefix and self.precision != "bf16":
            raise InputError("--bf16-prefix is for --precision bf16; add that or leave it out")
        if self.reference and self.compile:
            raise InputError("--reference computes the plain way; leave out either it or --compile")
        if self.recompute and self.compile:
            raise InputError(
                "--compile keeps what its blocks need; leave out either it or --checkpoint-activations"
            )


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Where the runs happen."""

    launcher: LauncherName = flag(
        "local", "--launcher", "local (this process, default) or ray (a cluster, or all cores here)", "WHERE"
    )
    address: str | None = flag(
        None,
        "--address",
        "the Ray cluster to join, HOST:PORT or auto (default: one is started on this machine)",
        "HOST:PORT",
    )
    cpus_per_run: int | None = flag(
        None, "--cpus-per-run", "cores, and threads, of each run in a cluster (default: 1)", "N", read_count
    )
    gpus_per_run: float | None = flag(
        None,
        "--gpus-per-run",
        "GPUs of each run in a cluster; 0.5 lets two share one (default: 1 with --device cuda, else 0)",
        "N",
        read_number,
    )
    max_concurrent: int | None = flag(
        None,
        "--max-concurrent",
        "groups of runs at once in a cluster (default: all that fit)",
        "N",
        read_count,
    )
    retries: int | None = flag(
        None,
        "--retries",
        "how often a run begins again when its worker or node dies (default: 3); one that fails does not",
        "N",
        read_count,
    )
    shard: tuple[int, int] | None = flag(
        None,
        "--shard",
        "do every N-th group of runs alone, beginning with the I-th: for Slurm and the like, then --merge",
        "I/N",
        lambda text, name: parse_shard(text),
    )

    def __post_init__(self) -> None:
        if self.launcher not in get_args(LauncherName):
            raise InputError(
                f"--launcher {self.launcher}: {did_you_mean(self.launcher, get_args(LauncherName))}"
            )
        for name in ("address", "cpus_per_run", "gpus_per_run", "max_concurrent", "retries"):
            value, words = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is not None and self.launcher != "ray":
                raise InputError(f"{words} {value} is for a cluster; add --launcher ray or leave it out")
        if self.cpus_per_run is not None:
            check_count("--cpus-per-run", self.cpus_per_run)
        if self.max_concurrent is not None:
            check_count("--max-concurrent", self.max_concurrent)
        if self.gpus_per_run is not None and not 0 <= self.gpus_per_run <= _LARGEST_GPUS:
            raise InputError(f"--gpus-per-run {self.gpus_per_run}: must lie between 0 and {_LARGEST_GPUS}")
        if self.gpus_per_run is not None and self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise InputError(
                f"--gpus-per-run {self.gpus_per_run}: must be a whole number, or a part of one GPU"
            )
        if self.retries is not None and not 0 <= self.retries <= 100:
            raise InputError(f"--retries {self.retries}: must lie between 0 and 100")
