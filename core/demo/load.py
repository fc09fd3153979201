"""The demo model from its file: half-precision rows in, the tensors of a plain GPTModel out.

The file ``model.safetensors`` holds GPTModel's parameters by name in float16, of the token embeddings only the
rows that were trained, and ``row_of`` (V,), which row each of GPT-2's 50,257 tokens has.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from headtohead.core.config import VOCABULARY, GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.files import write_bytes_atomic

DEMO_WEIGHTS = Path(__file__).with_name("model.safetensors")
DEMO_SHA256 = "8586cc79fd41a1cabf5e4bc29af0243cae0f86a8ed33549cb8da5f06aac69d56"
EMBEDDINGS, ROW_OF, FACTS = "tok_emb.weight", "row_of", "facts"


def demo_config(rows: int = VOCABULARY) -> GPTConfig:
    """The demo's shape; ``rows`` is below GPT-2's vocabulary only while it is pretrained."""
    return GPTConfig(vocab_size=rows, context_length=256, emb_dim=128, n_layers=4, n_heads=4)


def demo_tensors() -> dict[str, Tensor]:
    """The pretrained demo: GPTModel's parameters by name, float32, without the tied output head.

    Raises:
        InputError: the file is missing or is not the one that was published with this code.
    """
    try:
        content = DEMO_WEIGHTS.read_bytes()
    except OSError as error:
        raise InputError(f"{DEMO_WEIGHTS} cannot be read ({error.strerror}); reinstall headtohead") from error
    found = hashlib.sha256(content).hexdigest()
    if found != DEMO_SHA256:
        raise InputError(
            f"{DEMO_WEIGHTS} is damaged: its sha256 is {found} instead of {DEMO_SHA256}; reinstall headtohead"
        )
    return expanded(content, str(DEMO_WEIGHTS))


def read_weights(path: Path) -> dict[str, Tensor]:
    """:func:`demo_tensors` for any file that the recipe wrote, without a hash to hold it against.

    Raises:
        InputError: the file is missing or is no such file.
    """
    try:
        return expanded(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def read_facts(path: Path = DEMO_WEIGHTS) -> dict[str, Any]:
    """How a model's file was made: seed, steps, positions, perplexities."""
    with safe_open(path, "pt") as file:
        return dict(json.loads(file.metadata()[FACTS]))


def expanded(content: bytes, file: str) -> dict[str, Tensor]:
    """The bytes of a model's file as float32 tensors, with one embedding row for each of GPT-2's tokens."""
    try:
        tensors = load_bytes(content)
        row_of = tensors.pop(ROW_OF).long()
        tensors[EMBEDDINGS] = tensors[EMBEDDINGS][row_of]  # (R, D) -> (V, D)
    except (SafetensorError, KeyError, IndexError) as error:
        raise InputError(f"{file} is no demo model ({error}); make it again with the recipe") from error
    return {name: tensor.float() for name, tensor in tensors.items()}


def write_weights(
    path: Path, tensors: dict[str, Tensor], row_of: NDArray[np.int32], facts: dict[str, Any]
) -> str:
    """Write a model's file, whole or not at all; returns its sha256.

    Args:
        tensors: GPTModel's parameters, with reduced token embeddings (R, D).
        row_of: (V,) the row of each of GPT-2's tokens.
        facts: JSON values, kept in the file's header: how it was made.
    """
    stored = {name: tensor.detach().half().contiguous() for name, tensor in tensors.items()}
    stored[ROW_OF] = torch.from_numpy(row_of.astype(np.uint16))
    # One entry: safetensors writes several in any order, and equal runs are to give equal bytes.
    content = save_bytes(stored, metadata={FACTS: json.dumps(facts, sort_keys=True)})
    write_bytes_atomic(path, content)
    return hashlib.sha256(content).hexdigest()
