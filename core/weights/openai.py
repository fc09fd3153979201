"""OpenAI's checkpoints: found or downloaded, converted once, loaded in a moment.

OpenAI published GPT-2 as TensorFlow checkpoints. TensorFlow takes seconds to import, so only the conversion
does; what it converted is kept as safetensors in the cache folder and every later load reads that.
The name map follows OpenAI's own model code, https://github.com/openai/gpt-2/blob/master/src/model.py.
"""

import hashlib
import json
import math
import os
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, PUBLISHED_SIZES, GPTConfig
from headtohead.core.download import download as download_file
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.files import cache_dir, sha256_of
from headtohead.core.weights import converted
from headtohead.core.weights.pretrained import Pretrained, Tensors, Wanted, parameter_shapes
from headtohead.core.weights.shape import read_shape

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
# (1, in, out), the transpose of torch's; a variable that fills several parameters holds them side by side.
AS_IS, TRANSPOSED = "as is", "transposed"
VARIABLES = {
    "model/wte": (AS_IS, ("tok_emb.weight",)),
    "model/wpe": (AS_IS, ("pos_emb.weight",)),
    "model/ln_f/g": (AS_IS, ("final_norm.scale",)),
    "model/ln_f/b": (AS_IS, ("final_norm.shift",)),
}
BLOCK_VARIABLES = {
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


def find(wanted: Wanted) -> Pretrained | None:
    """A published size, from the cache or downloaded into it, or whatever checkpoint the user's folder holds."""
    if wanted.model is not None and wanted.model not in PUBLISHED_SIZES:
        return None
    if wanted.weights_dir is None:
        name = wanted.model or DEFAULT_MODEL
        folder = _published_checkpoint(name, wanted.download)
        return _converted(folder, name, f"OpenAI's GPT-2 {name}, {URLS[0]}/{name}")
    folder, expected = _local_checkpoint(wanted.weights_dir, wanted.model)
    found = _converted(folder, expected, f"GPT-2 checkpoint in the folder {folder}")
    return replace(found, weights_dir=wanted.weights_dir)


# --- where a checkpoint lies -------------------------------------------------------------------------------


def _local_checkpoint(weights_dir: Path, model: str | None) -> tuple[Path, str | None]:
    """The checkpoint's folder and the size it must have (None for any): DIR/<size>, else DIR itself."""
    if not weights_dir.is_dir():
        raise InputError(f"the weights folder {weights_dir} does not exist")
    wanted = model or DEFAULT_MODEL
    if (weights_dir / wanted).is_dir():
        return weights_dir / wanted, wanted
    if any((weights_dir / file).exists() for file in NEEDED_FILES):
        return weights_dir, model
    others = [size for size in PUBLISHED_SIZES if (weights_dir / size).is_dir()]
    hint = f"; it does hold {', '.join(others)}: name that with --model" if others else ""
    raise InputError(
        f"the weights folder {weights_dir} holds neither a folder {wanted} nor the files "
        f"{', '.join(NEEDED_FILES)}{hint}"
    )


def _published_checkpoint(name: str, download: bool) -> Path:
    """The folder in the cache with OpenAI's files; what is missing there is downloaded."""
    folder = cache_dir() / "gpt2" / name
    missing = [file for file in NEEDED_FILES if not (folder / file).exists()]
    try:
        if missing and not download:
            raise Unavailable(f"GPT-2 {name} is not in {folder} and downloading is switched off")
        for file in missing:
            urls = [f"{source}/{name}/{file}" for source in URLS]
            size = _data_bytes(CONFIGS[name]) if file == DATA_FILE else None
            download_file(urls, folder / file, description=f"GPT-2 {name} {file}", size=size)
    except Unavailable as error:
        raise Unavailable(
            f"{error}; to supply the weights, put OpenAI's {', '.join(NEEDED_FILES)} into a folder "
            f"and name it with --weights-dir"
        ) from error
    return folder


# --- the converted copy in the cache -----------------------------------------------------------------------


def _converted(folder: Path, expected: str | None, source: str) -> Pretrained:
    """Use the converted copy of a checkpoint, or make it where it is missing or damaged."""
    for file in NEEDED_FILES:
        if not (folder / file).is_file():
            raise InputError(f"{folder} has no file {file}; a checkpoint needs {', '.join(NEEDED_FILES)}")
    config = read_shape(folder / HPARAMS_FILE, HPARAMS)
    name = _checked_name(folder, config, expected)
    path = cache_dir() / "weights" / f"{name[:40]}-{_cache_key(folder, config)}.safetensors"
    sha256 = converted.intact_sha256(path)
    if sha256 is None:
        why = f"The converted copy {path} is damaged: converting" if path.exists() else "Converting"
        print(f"{why} {folder} with TensorFlow; the next load is immediate.", file=sys.stderr)
        sha256 = converted.store(read_checkpoint(folder, config), path)
    return Pretrained(name, config, sha256, source, partial(converted.read, path, sha256))


def _checked_name(folder: Path, config: GPTConfig, expected: str | None) -> str:
    """The size's name, or the folder's name where the shape is none of the published sizes."""
    if expected is not None and config != CONFIGS[expected]:
        raise InputError(
            f"{folder / HPARAMS_FILE} describes {_shape_text(config)}, but {expected} has "
            f"{_shape_text(CONFIGS[expected])}; choose the model that the folder holds, or the right folder"
        )
    known = [size for size in PUBLISHED_SIZES if CONFIGS[size] == config]
    name = folder.resolve().name
    return known[0] if known else "custom" if name in CONFIGS or not name else name


def _shape_text(config: GPTConfig) -> str:
    return ", ".join(f"{key} {getattr(config, field)}" for key, field in HPARAMS.items())


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
        tensors |= _split_variable(stored, layout, parameters)
    return tensors


def variable_map(config: GPTConfig) -> dict[str, tuple[str, tuple[str, ...]]]:
    """OpenAI variable -> (AS_IS or TRANSPOSED, the GPTModel parameters it fills), for all blocks."""
    blocks = {
        f"model/h{block}/{variable}": (layout, tuple(f"trf_blocks.{block}.{name}" for name in parameters))
        for block in range(config.n_layers)
        for variable, (layout, parameters) in BLOCK_VARIABLES.items()
    }
    return VARIABLES | blocks


def _split_variable(stored: Tensor, layout: str, parameters: tuple[str, ...]) -> Tensors:
    """One variable as the parameters it fills: (1, in, n * out) -> n x (out, in), or (n * D,) -> n x (D,)."""
    if layout == TRANSPOSED:
        stored = stored.reshape(stored.shape[-2:])
    parts = stored.chunk(len(parameters), dim=-1)
    # Copies of their own: safetensors refuses to write views that share memory.
    return {
        name: part.T.contiguous() if layout == TRANSPOSED else part.clone()
        for name, part in zip(parameters, parts, strict=True)
    }


def _check_variables(
    folder: Path, config: GPTConfig, shapes: dict[str, list[int]], types: dict[str, str]
) -> None:
    """Every variable of the model is there as float32 with its shape, and no other one is."""
    index, expected = folder / INDEX_FILE, _variable_shapes(config)
    described = f"{HPARAMS_FILE} ({_shape_text(config)})"
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
