"""Checkpoints in Hugging Face's format: a folder with config.json and safetensors, in one file or in shards.

Any GPT-2 that transformers' GPT2Model computes with the settings of the original is read; shape, context length
and vocabulary come from config.json. What was pickled is refused: opening it may run code.
Source of the names: transformers, src/transformers/models/gpt2/modeling_gpt2.py.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError, shown
from headtohead.core.json_files import read_object
from headtohead.core.weights import converted
from headtohead.core.weights.layout import AS_IS, TRANSPOSED, Layout, split_stored
from headtohead.core.weights.pretrained import Pretrained, Tensors, check_finite, parameter_shapes
from headtohead.core.weights.shape import checked_name, read_shape
from headtohead.core.weights.tokenizer_files import has_tokenizer, own_tokenizer

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
KEYS = {
    "vocab_size": "vocab_size",
    "n_positions": "context_length",
    "n_embd": "emb_dim",
    "n_layer": "n_layers",
    "n_head": "n_heads",
}
# Settings that change what GPT-2 computes: what must stand there, the first being transformers' default.
SETTINGS: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
}
CONVERSION_VERSION = 1  # part of the cache key: raise it when the converted file changes

NAMES: dict[str, Layout] = {
    "wte.weight": (AS_IS, ("tok_emb.weight",)),
    "wpe.weight": (AS_IS, ("pos_emb.weight",)),
    "ln_f.weight": (AS_IS, ("final_norm.scale",)),
    "ln_f.bias": (AS_IS, ("final_norm.shift",)),
}
BLOCK_NAMES: dict[str, Layout] = {
    "ln_1.weight": (AS_IS, ("norm1.scale",)),
    "ln_1.bias": (AS_IS, ("norm1.shift",)),
    "attn.c_attn.weight": (TRANSPOSED, ("att.W_query.weight", "att.W_key.weight", "att.W_value.weight")),
    "attn.c_attn.bias": (AS_IS, ("att.W_query.bias", "att.W_key.bias", "att.W_value.bias")),
    "attn.c_proj.weight": (TRANSPOSED, ("att.out_proj.weight",)),
    "attn.c_proj.bias": (AS_IS, ("att.out_proj.bias",)),
    "ln_2.weight": (AS_IS, ("norm2.scale",)),
    "ln_2.bias": (AS_IS, ("norm2.shift",)),
    "mlp.c_fc.weight": (TRANSPOSED, ("ff.layers.0.weight",)),
    "mlp.c_fc.bias": (AS_IS, ("ff.layers.0.bias",)),
    "mlp.c_proj.weight": (TRANSPOSED, ("ff.layers.2.weight",)),
    "mlp.c_proj.bias": (AS_IS, ("ff.layers.2.bias",)),
}
PREFIX = "transformer."  # of every name, where the model was saved with a head
OUTPUT_HEAD = "lm_head.weight"
# The causal mask of older files, and the head of a classifier, in whose place a new one is put.
UNUSED = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)|score\.weight")
EXACT_IN_FLOAT32 = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Entry:
    """One tensor of a checkpoint: in which file, under which name, and what its header says of it."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: str


def recognises(folder: Path) -> bool:
    """Whether a folder holds, or was to hold, a checkpoint in this format."""
    files = (CONFIG_FILE, WEIGHTS_FILE, INDEX_FILE)
    return any((folder / file).exists() for file in files) or bool(_pickled(folder))


def is_complete(folder: Path) -> bool:
    """Whether config.json and every file of weights are there."""
    try:
        return (folder / CONFIG_FILE).is_file() and all(file.is_file() for file in _weight_files(folder))
    except InputError:
        return False


def load(folder: Path, expected: str | None, source: str, name: str | None = None) -> Pretrained:
    """A checkpoint in Hugging Face's format, converted once.

    Args:
        folder: holds the files.
        expected: the published size that it must have; None for any shape.
        source: where it came from, as :class:`Pretrained` has it.
        name: the model's name; None for the size's, or the folder's.

    Raises:
        InputError: a file is missing, damaged, pickled or of another shape, or the model is not GPT-2's.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise InputError(f"{folder} has no file {CONFIG_FILE}; a checkpoint needs it beside {WEIGHTS_FILE}")
    files = _weight_files(folder)
    values = read_object(path, f"it must give {', '.join(KEYS)}")
    _check_settings(path, values)
    config = read_shape(path, KEYS, own_tokenizer=has_tokenizer(folder))
    name = name or checked_name(path, config, expected, KEYS)
    tokenizer = own_tokenizer(folder, config.vocab_size, values)
    copy, sha256 = converted.ensure(
        name, _cache_key(files, config), str(folder), lambda: read_checkpoint(folder, config)
    )
    whole = sha256 if tokenizer is None else _both(sha256, tokenizer.sha256)
    read = partial(converted.read, copy, sha256)
    return Pretrained(name, config, whole, source, read, tokenizer=tokenizer)


def _both(weights: str, tokenizer: str) -> str:
    return hashlib.sha256(f"{weights} {tokenizer}".encode()).hexdigest()


def _cache_key(files: list[Path], config: GPTConfig) -> str:
    facts = [CONVERSION_VERSION, "huggingface", *map(converted.fingerprint, files), asdict(config)]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


# --- what lies in the folder -------------------------------------------------------------------------------


def _weight_files(folder: Path) -> list[Path]:
    """The file or the shards; InputError where they are missing or pickled."""
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if (folder / INDEX_FILE).is_file():
        return _shards(folder)
    if pickled := _pickled(folder):
        raise InputError(
            f"{pickled[0]} is a pickled file, and opening one may run code that is in it; convert it on a machine "
            f"that may, with transformers: AutoModel.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    raise InputError(f"{folder} has neither {WEIGHTS_FILE} nor {INDEX_FILE}; a checkpoint needs one of them")


def _pickled(folder: Path) -> list[Path]:
    return [path for pattern in PICKLED for path in sorted(folder.glob(pattern))]


def _shards(folder: Path) -> list[Path]:
    index = folder / INDEX_FILE
    names = read_object(index, "replace it by an intact copy").get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index} has no weight_map that names files; replace it by an intact copy")
    files = sorted({str(name) for name in names.values()})
    for name in files:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,200}\.safetensors", name):
            raise InputError(f"{index} names the file {shown(name)}; only .safetensors beside it are read")
        if not (folder / name).is_file():
            raise InputError(
                f"{index} names the file {name}, which is not in {folder}; add the missing shard"
            )
    return [folder / name for name in files]


def _check_settings(path: Path, values: Mapping[str, Any]) -> None:
    """InputError where the model computes something other than GPT-2."""
    kind = values.get("model_type")
    if kind != "gpt2":
        raise InputError(f"{path}: model_type is {shown(kind)}, but only gpt2 can be read; name a GPT-2")
    for key, allowed in SETTINGS.items():
        if values.get(key, allowed[0]) not in allowed:
            raise InputError(
                f"{path}: {key} is {shown(values[key])}, but GPT-2 has {' or '.join(map(shown, allowed))}; "
                "this model computes something else and cannot be read"
            )
    inner, width = values.get("n_inner"), values.get("n_embd")
    if inner is not None and not (isinstance(width, int) and inner == 4 * width):
        raise InputError(
            f"{path}: n_inner is {shown(inner)}, but GPT-2's hidden layers have 4 x n_embd = 4 x {shown(width)}"
        )


# --- reading -----------------------------------------------------------------------------------------------


def name_map(config: GPTConfig) -> dict[str, Layout]:
    """transformers' name, without its prefix -> (AS_IS or TRANSPOSED, the GPTModel parameters it fills)."""
    blocks = {
        f"h.{block}.{name}": (layout, tuple(f"trf_blocks.{block}.{each}" for each in parameters))
        for block in range(config.n_layers)
        for name, (layout, parameters) in BLOCK_NAMES.items()
    }
    return NAMES | blocks


def read_checkpoint(folder: Path, config: GPTConfig) -> Tensors:
    """Read a checkpoint into tensors named as GPTModel's parameters, without the tied head.

    Raises:
        InputError: names the file and, where one is concerned, the tensor: a damaged file, a tensor that is missing,
            twice there, of another shape or type, unknown, or not finite; an output head of its own.
    """
    entries = _entries(_weight_files(folder))
    _check_entries(folder, config, entries)
    tensors: Tensors = {}
    for name, (layout, parameters) in name_map(config).items():
        stored = _values(entries[name])
        check_finite(stored, f"{entries[name].file}: tensor {name}")
        tensors |= split_stored(stored, layout, parameters)
    head = entries.get(OUTPUT_HEAD)
    if head is not None and not torch.equal(_values(head), tensors["tok_emb.weight"]):
        raise InputError(
            f"{head.file}: {OUTPUT_HEAD} is not the token embedding, as it is in GPT-2; such a model cannot be read"
        )
    return tensors


def _entries(files: list[Path]) -> dict[str, Entry]:
    """Every tensor by its name without the prefix; those that nothing needs are left out."""
    entries: dict[str, Entry] = {}
    for path in files:
        with _opened(path) as file:
            for stored in file.keys():  # noqa: SIM118 - it is no dictionary
                name = stored.removeprefix(PREFIX)
                if UNUSED.fullmatch(name):
                    continue
                if name in entries:
                    raise InputError(f"{path}: tensor {name} is there twice; replace it by an intact copy")
                part = file.get_slice(stored)
                entries[name] = Entry(path, stored, tuple(part.get_shape()), part.get_dtype())
    return entries


def _values(entry: Entry) -> Tensor:
    with _opened(entry.file) as file:
        values: Tensor = file.get_tensor(entry.name)
    return values.to(torch.float32)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            f"{path} cannot be read as safetensors ({error}); replace it by an intact copy"
        ) from error


def _check_entries(folder: Path, config: GPTConfig, entries: Mapping[str, Entry]) -> None:
    """Every tensor of the model is there with its shape, in a type that float32 holds exactly, and no other one."""
    described, expected = f"the model of {CONFIG_FILE}", _stored_shapes(config)
    for name, shape in expected.items():
        if name not in entries:
            raise InputError(f"{folder} has no tensor {name}, which {described} needs; add the missing file")
        if entries[name].shape != shape:
            raise InputError(
                f"{entries[name].file}: tensor {name} has the shape {entries[name].shape}, but {described} asks "
                f"for {shape}; the two do not belong together"
            )
    for name, entry in entries.items():
        if name not in expected and name != OUTPUT_HEAD:
            raise InputError(
                f"{entry.file} has the tensor {shown(name)}, which {described} does not have; name a GPT-2"
            )
        if entry.dtype not in EXACT_IN_FLOAT32:
            raise InputError(
                f"{entry.file}: tensor {name} is {entry.dtype}, but must be {', '.join(EXACT_IN_FLOAT32)}; "
                "save the model in float32"
            )


def _stored_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every stored tensor, from the shapes of the parameters it fills."""
    shapes = parameter_shapes(config)
    result: dict[str, tuple[int, ...]] = {}
    for name, (layout, parameters) in name_map(config).items():
        *leading, last = shapes[parameters[0]]
        if layout == TRANSPOSED:
            result[name] = (last, leading[0] * len(parameters))
        else:
            result[name] = (*leading, last * len(parameters))
    return result
