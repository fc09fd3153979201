"""A model's shape out of the JSON file that lies beside its weights."""

from collections.abc import Mapping
from pathlib import Path

from headtohead.core.config import LIMITS, VOCABULARY, GPTConfig
from headtohead.core.errors import InputError, shown
from headtohead.core.json_files import read_object


def read_shape(path: Path, keys: Mapping[str, str]) -> GPTConfig:
    """The shape that a file gives.

    Args:
        path: holds a JSON object; what else it holds is ignored.
        keys: the file's key -> the field of GPTConfig.

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
    if config["vocab_size"] < VOCABULARY:
        raise InputError(
            f"{path} describes a vocabulary of {config['vocab_size']} tokens, "
            f"but GPT-2's tokenizer has {VOCABULARY}"
        )
    try:
        return GPTConfig(**config)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
