"""OpenAI's checkpoints: found or downloaded, converted once, loaded in a moment.

OpenAI published GPT-2 as TensorFlow checkpoints. TensorFlow takes seconds to import, so only the conversion
does; what it converted is kept as safetensors in the cache folder and every later load reads that.
The name map follows OpenAI's own model code, https://github.com/openai/gpt-2/blob/master/src/model.py.
"""

import hashlib
import json
import math
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from headtohead.core.config import CONFIGS, GPTConfig
from headtohead.core.download import download as download_file
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.files import cache_dir, sha256_of
from headtohead.core.weights import converted
from headtohead.core.weights.layout import AS_IS, TRANSPOSED, Layout, split_stored
from headtohead.core.weights.pretrained import Pretrained, Tensors, check_finite, parameter_shapes
from headtohead.core.weights.shape import checked_name, read_shape, shape_text

URLS = (
    "https://openaipublic.blob.core.windows.net/gpt-2/models",
    "https://f001.backblazeb2.com/file/LLMs-from-scratch/gpt2",
)
HPARAMS_FILE = "hparams.json"
INDEX_FILE = "model.ckpt.index"
DATA_FILE = "model.ckpt.data-00000-of-00001"
# OpenAI published more (checkpoint, model.ckpt.meta, the tokenizer); the weights are whole without them.
NEEDED_FILES = (HPARAMS_FILE, INDEX_FILE, DATA_FILE)
HPARAMS = {
    "n_vocab": "vocab_size",
    "n_ctx": "context_length",
    "n_embd": "emb_dim",
    "n_layer": "n_layers",
    "n_head": "n_heads",
}
CONVERSION_VERSION = 1  # part of the cache key: raise it when the converted file changes

# OpenAI variable -> (how it is stored, the parameters it fills). A linear layer's weight is stored as
# (1, in, out); a variable that fills several parameters holds them side by side.
VARIABLES: dict[str, Layout] = {
    "model/wte": (AS_IS, ("tok_emb.weight",)),
    "model/wpe": (AS_IS, ("pos_emb.weight",)),
    "model/ln_f/g": (AS_IS, ("final_norm.scale",)),
    "model/ln_f/b": (AS_IS, ("final_norm.shift",)),
}
BLOCK_VARIABLES: dict[str, Layout] = {
    "ln_1/g": (AS_IS, ("norm1.scale",)),
    "ln_1/b": (AS_IS, ("norm1.shift",)),
    "attn/c_attn/w": (TRANSPOSED, ("att.W_query.weight", "att.W_key.weight", "att.W_value.weight")),
    "attn/c_attn/b": (AS_IS, ("att.W_query.bias", "att.W_key.bias", "att.W_value.bias")),
    "attn/c_proj/w": (TRANSPOSED, ("att.out_proj.weight",)),
    "attn/c_proj/b": (AS_IS, ("att.out_proj.bias",)),
    "ln_2/g": (AS_IS, ("norm2.scale",)),
    "ln_2/b": (AS_IS, ("norm2.shift",)),
    "mlp/c_fc/w": (TRANSPOSED, ("ff.layers.0.weight",)),
    "mlp/c_fc/b": (AS_IS, ("ff.layers.0.bias",)),
    "mlp/c_proj/w": (TRANSPOSED, ("ff.layers.2.weight",)),
    "mlp/c_proj/b": (AS_IS, ("ff.layers.2.bias",)),
}


def recognises(folder: Path) -> bool:
    """Whether a folder holds, or was to hold, a checkpoint in OpenAI's format."""
    return any((folder / file).exists() for file in NEEDED_FILES)


def published(name: str, *, download: bool) -> Pretrained:
    """A published size from the cache folder; what is missing there is downloaded.

    Raises:
        Unavailable: it is not there whole and may not, or could not, be downloaded.
        InputError: a checkpoint that is damaged or of another shape.
    """
    folder = _published_checkpoint(name, download)
    return load(folder, name, f"OpenAI's GPT-2 {name}, {URLS[0]}/{name}")


def _published_checkpoint(name: str, download: bool) -> Path:
    """The folder in the cache with OpenAI's files; what is missing there is downloaded."""
    folder = cache_dir() / "gpt2" / name
    missing = [file for file in NEEDED_FILES if not (folder / file).exists()]
    if missing and not download:
        raise Unavailable(f"GPT-2 {name} is not in {folder} and downloading is switched off")
    for file in missing:
        urls = [f"{source}/{name}/{file}" for source in URLS]
        size = _data_bytes(CONFIGS[name]) if file == DATA_FILE else None
        download_file(urls, folder / file, description=f"GPT-2 {name} {file}", size=size)
    return folder


# --- the converted copy in the cache -----------------------------------------------------------------------


def load(folder: Path, expected: str | None, source: str) -> Pretrained:
    """A checkpoint of OpenAI's, converted once.

    Args:
        folder: holds the files.
        expected: the published size that it must have; None for any shape.
        source: where it came from, as :class:`Pretrained` has it.

    Raises:
        InputError: a file is missing, damaged or of another shape.
    """
    for file in NEEDED_FILES:
        if not (folder / file).is_file():
            raise InputError(f"{folder} has no file {file}; a checkpoint needs {', '.join(NEEDED_FILES)}")
    config = read_shape(folder / HPARAMS_FILE, HPARAMS)
    name = checked_name(folder / HPARAMS_FILE, config, expected, HPARAMS)
    path, sha256 = converted.ensure(
        name, _cache_key(folder, config), f"{folder} with TensorFlow", lambda: read_checkpoint(folder, config)
    )
    return Pretrained(name, config, sha256, source, partial(converted.read, path, sha256))


def _cache_key(folder: Path, config: GPTConfig) -> str:
    """Identifies a checkpoint without reading its data: the index file carries a CRC of every tensor."""
    facts = [sha256_of(folder / INDEX_FILE), (folder / DATA_FILE).stat().st_size]
    text = json.dumps([CONVERSION_VERSION, *facts, asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# --- reading OpenAI's format -------------------------------------------------------------------------------


def read_checkpoint(folder: Path, config: GPTConfig) -> Tensors:
    """Read a TensorFlow checkpoint into tensors named as GPTModel's parameters, without the tied head.

    Raises:
        InputError: names the file and, where one is concerned, the variable: a file that is truncated or
            damaged (each tensor has a CRC), a variable that is missing, of another shape, or unknown.
    """
    if set(str(folder)) & set("*?["):
        raise InputError(f"TensorFlow takes the *, ? or [ in {folder} for a wildcard; rename the folder")
    tensorflow = _import_tensorflow()
    # TensorFlow's reader answers with its own errors, or with Python's where the status has a namesake there.
    read_errors = (tensorflow.errors.OpError, LookupError, RuntimeError, ValueError)
    try:
        reader = tensorflow.train.load_checkpoint(str(folder / "model.ckpt"))
        shapes = reader.get_variable_to_shape_map()
        types = {name: dtype.name for name, dtype in reader.get_variable_to_dtype_map().items()}
    except read_errors as error:
        raise InputError(
            f"{folder / INDEX_FILE} cannot be read as a TensorFlow checkpoint ({_first_line(error)}); "
            "replace it by an intact copy"
        ) from error
    _check_variables(folder, config, shapes, types)
    tensors: Tensors = {}
    for variable, (layout, parameters) in variable_map(config).items():
        try:
            stored = torch.from_numpy(reader.get_tensor(variable))
        except read_errors as error:
            raise InputError(_damage(folder, config, variable, error)) from error
        tensors |= split_stored(stored, layout, parameters)
        check_finite(stored, f"{folder / DATA_FILE}: variable {variable}")
    return tensors


def variable_map(config: GPTConfig) -> dict[str, Layout]:
    """OpenAI variable -> (AS_IS or TRANSPOSED, the GPTModel parameters it fills), for all blocks."""
    blocks = {
        f"model/h{block}/{variable}": (layout, tuple(f"trf_blocks.{block}.{name}" for name in parameters))
        for block in range(config.n_layers)
        for variable, (layout, parameters) in BLOCK_VARIABLES.items()
    }
    return VARIABLES | blocks


def _check_variables(
    folder: Path, config: GPTConfig, shapes: dict[str, list[int]], types: dict[str, str]
) -> None:
    """Every variable of the model is there as float32 with its shape, and no other one is."""
    index, expected = folder / INDEX_FILE, _variable_shapes(config)
    described = f"{HPARAMS_FILE} ({shape_text(config, HPARAMS)})"
    for variable, shape in expected.items():
        if variable not in shapes:
            raise InputError(f"{index} has no variable {variable}, which the model of {described} needs")
        if tuple(shapes[variable]) not in (shape, shape[-2:]):
            raise InputError(
                f"{index}: variable {variable} has the shape {tuple(shapes[variable])}, "
                f"but {described} asks for {shape}; the two files do not belong together"
            )
        if types[variable] != "float32":
            raise InputError(f"{index}: variable {variable} is {types[variable]}; only float32 can be read")
    unknown = sorted(set(shapes) - set(expected))
    if unknown:
        raise InputError(
            f"{index} has the variable {unknown[0]} ({len(unknown)} such), which {described} does not allow"
        )


def _variable_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every OpenAI variable, from the shapes of the parameters it fills."""
    shapes = parameter_shapes(config)
    result: dict[str, tuple[int, ...]] = {}
    for variable, (layout, parameters) in variable_map(config).items():
        *leading, last = shapes[parameters[0]]
        if layout == TRANSPOSED:
            result[variable] = (1, last, leading[0] * len(parameters))
        else:
            result[variable] = (*leading, last * len(parameters))
    return result


def _data_bytes(config: GPTConfig) -> int:
    """The size of the data file: all float32 values, one after the other."""
    return 4 * sum(math.prod(shape) for shape in parameter_shapes(config).values())


def _damage(folder: Path, config: GPTConfig, variable: str, error: Exception) -> str:
    size, needed = (folder / DATA_FILE).stat().st_size, _data_bytes(config)
    reason = f"it has {size:,} of {needed:,} bytes" if size < needed else _first_line(error)
    return (
        f"{folder / DATA_FILE}: variable {variable} cannot be read ({reason}); replace it by an intact copy"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _import_tensorflow() -> Any:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its start-up notices are no news to the user
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow

    return tensorflow
