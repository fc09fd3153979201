"""A training run on disk: one safetensors file, whose header holds the run's state as JSON; never pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from headtohead.core.errors import InputError
from headtohead.core.files import write_bytes_atomic

MOMENTS = ("exp_avg", "exp_avg_sq")  # what Adam remembers of each parameter, beside the step


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Write parameters, Adam's moments and ``state`` (JSON values), whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach().contiguous()
        for moment in MOMENTS:
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment].contiguous()
    try:
        write_bytes_atomic(path, save_bytes(tensors, metadata={"state": json.dumps(state)}))
    except OSError as error:
        raise InputError(f"--output: {path} cannot be written: {error.strerror}") from error


def read_state(path: Path) -> dict[str, Any]:
    """The state that was saved, without the tensors.

    Raises:
        InputError: the file is missing or is no checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            return dict(json.loads(file.metadata()["state"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"--resume: {path} is no checkpoint that can be read ({error})") from error


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Put parameters and moments back as they were after ``step`` steps.

    Raises:
        InputError: the checkpoint is of another shape or vocabulary.
    """
    try:
        with safe_open(path, "pt") as file, torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(file.get_tensor(f"model.{name}"))
                optimizer.state[parameter] = {
                    "step": torch.tensor(float(step)),
                    **{moment: file.get_tensor(f"{moment}.{name}") for moment in MOMENTS},
                }
    except (OSError, SafetensorError, RuntimeError) as error:
        raise InputError(
            f"--resume: {path} does not fit this run ({error}); use the same text, seed and version"
        ) from error
