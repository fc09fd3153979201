"""A model's shape out of the JSON file that lies beside its weights."""

from collections.abc import Mapping
from pathlib import Path

from headtohead.core.config import CONFIGS, LIMITS, PUBLISHED_SIZES, VOCABULARY, GPTConfig
from headtohead.core.errors import InputError, shown
from headtohead.core.json_files import read_object


def read_shape(path: Path, keys: Mapping[str, str], *, own_tokenizer: bool = False) -> GPTConfig:
    """The shape that a file gives.

    Args:
        path: holds a JSON object; what else it holds is ignored.
        keys: the file's key -> the field of GPTConfig.
        own_tokenizer: the checkpoint brings one, so its vocabulary may be smaller than GPT-2's.

    Raises:
        InputError: a key that is missing, or a value that is no whole number from 1 to its limit.
    """
    try:
        values = read_object(path, f"it must give {', '.join(keys)}")
    except FileNotFoundError as error:
        raise InputError(f"{path} is gone") from error
    for key, field in keys.items():
        if key not in values:
            raise InputError(f"{path} lacks the key {key}; it must give {', '.join(keys)}")
        value, most = values[key], LIMITS[field]
        if type(value) is not int or not 1 <= value <= most:
            raise InputError(
                f"{path}: {key} is {shown(value)}, but must be a whole number from 1 to {most:,}"
            )
    config = {field: values[key] for key, field in keys.items()}
    if config["vocab_size"] < VOCABULARY and not own_tokenizer:
        raise InputError(
            f"{path} describes a vocabulary of {config['vocab_size']} tokens, "
            f"but GPT-2's tokenizer has {VOCABULARY}"
        )
    try:
        return GPTConfig(**config)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def checked_name(path: Path, config: GPTConfig, expected: str | None, keys: Mapping[str, str]) -> str:
    """The published size's name, or the folder's name where the shape is none of these.

    Args:
        path: the file that gave the shape, in the checkpoint's folder.
        config: the shape.
        expected: the size that it must have; None for any.
        keys: as in :func:`read_shape`; an error names the shape by them.

    Raises:
        InputError: it has another shape than expected.
    """
    if expected is not None and config != CONFIGS[expected]:
        raise InputError(
            f"{path} describes {shape_text(config, keys)}, but {expected} has "
            f"{shape_text(CONFIGS[expected], keys)}; choose the model that the folder holds, or the right folder"
        )
    known = [size for size in PUBLISHED_SIZES if CONFIGS[size] == config]
    name = path.parent.resolve().name
    return known[0] if known else "custom" if name in CONFIGS or not name else name


def shape_text(config: GPTConfig, keys: Mapping[str, str]) -> str:
    """A shape as its file writes it: ``n_vocab 50257, n_ctx 1024, ...``."""
    return ", ".join(f"{key} {getattr(config, field)}" for key, field in keys.items())
