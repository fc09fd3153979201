"""Pretrained GPT-2 weights: find or download OpenAI's checkpoint, convert it once, load it in a moment.

OpenAI published GPT-2 as TensorFlow checkpoints. TensorFlow takes seconds to import, so only the conversion
does; what it converted is kept as safetensors in the cache folder and every later load reads that.
The name map follows OpenAI's own model code, https://github.com/openai/gpt-2/blob/master/src/model.py.
"""

import hashlib
import json
import math
import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, DEMO_MODEL, PUBLISHED_SIZES, VOCABULARY, GPTConfig
from headtohead.core.download import download as download_file
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.files import cache_dir, sha256_of, write_text_atomic
from headtohead.core.model import GPTModel

SOURCES = (
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
PIECE_BYTES = 4 * 1024 * 1024
DEMO_SEED = 20190214
TIED_HEAD = "out_head.weight"  # GPT-2's output head is its token embedding; no checkpoint stores it twice

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


@dataclass(frozen=True)
class Pretrained:
    """Pretrained weights that were found and checked.

    Attributes:
        name: "124M", "355M", "774M", "1558M", "demo", or the folder's name where the shape is none of these.
        config: the model's shape.
        sha256: identifies the weights: over every tensor's name, type, shape and bytes.
        path: the safetensors file in the cache folder; None where the weights are generated.
        source: one sentence that says where they came from.
        is_demo: True for the embedded demo, whose weights are random.
        weights_dir: the folder that the user named; None where there was none.
    """

    name: str
    config: GPTConfig
    sha256: str
    path: Path | None
    source: str
    is_demo: bool
    weights_dir: Path | None = None

    def build(self) -> GPTModel:
        """A fresh model on the CPU in evaluation mode; writing to it changes neither file nor other models.

        Raises:
            InputError: the cached file was removed or changed since :func:`find_pretrained` checked it.
        """
        tensors = _demo_tensors(self.config) if self.path is None else self._cached_tensors(self.path)
        model = _model_without_values(self.config)
        model.load_state_dict(tensors | {TIED_HEAD: tensors["tok_emb.weight"]}, assign=True)
        model.out_head.weight = model.tok_emb.weight
        return model.eval()

    def _cached_tensors(self, path: Path) -> dict[str, Tensor]:
        if _intact_sha256(path) != self.sha256:
            raise InputError(f"{path} was removed or damaged after it was checked; run the command again")
        return load_file(path)  # a private memory map: pages are copied when written to


def find_pretrained(model: str | None, weights_dir: Path | None, *, download: bool = True) -> Pretrained:
    """Find, download or generate pretrained weights, and check them.

    Args:
        model: a published size, "demo", or None for 124M (or whatever ``weights_dir`` itself holds).
        weights_dir: a folder with a checkpoint as OpenAI published it, or with one in a subfolder named
            after the size; None for the cache folder, into which missing files are downloaded.
        download: False never touches the network.

    Raises:
        Unavailable: the weights are neither on this machine nor could they be downloaded.
        InputError: an unknown name, or a checkpoint that is incomplete, damaged or of another shape.
    """
    if model is not None and model not in CONFIGS:
        raise InputError(f"model {model!r} is unknown; choose one of {', '.join(CONFIGS)}")
    if model == DEMO_MODEL:
        if weights_dir is not None:
            raise InputError(f"the demo model reads no weights; leave out either it or {weights_dir}")
        return _demo()
    if weights_dir is None:
        name = model or DEFAULT_MODEL
        folder = _published_checkpoint(name, download)
        return _converted(folder, name, f"OpenAI's GPT-2 {name}, {SOURCES[0]}/{name}")
    folder, expected = _local_checkpoint(weights_dir, model)
    found = _converted(folder, expected, f"GPT-2 checkpoint in the folder {folder}")
    return replace(found, weights_dir=weights_dir)


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
            urls = [f"{source}/{name}/{file}" for source in SOURCES]
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
    config = _read_hparams(folder / HPARAMS_FILE)
    name = _checked_name(folder, config, expected)
    path = cache_dir() / "weights" / f"{name}-{_cache_key(folder, config)}.safetensors"
    sha256 = _intact_sha256(path)
    if sha256 is None:
        why = f"The converted copy {path} is damaged: converting" if path.exists() else "Converting"
        print(f"{why} {folder} with TensorFlow; the next load is immediate.", file=sys.stderr)
        sha256 = _store(read_checkpoint(folder, config), path)
    return Pretrained(name, config, sha256, path, source, is_demo=False)


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
    try:
        facts = [sha256_of(folder / INDEX_FILE), (folder / DATA_FILE).stat().st_size]
    except OSError as error:
        raise InputError(f"{folder / INDEX_FILE} cannot be read: {error.strerror}") from error
    text = json.dumps([CONVERSION_VERSION, *facts, asdict(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _store(tensors: dict[str, Tensor], path: Path) -> str:
    """Write tensors and, beside them, what identifies weights and file; returns the weights' hash.

    Several processes may do this at once: each renames a whole file into place, and all write the same bytes.
    """
    hashes = {"weights_sha256": tensors_sha256(tensors)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".converting-") as folder:
            temporary = Path(folder) / path.name
            save_file(tensors, temporary)
            hashes["file_fingerprint"] = _fingerprint(temporary, temporary.stat().st_size)
            os.replace(temporary, path)
        write_text_atomic(path.with_suffix(".json"), json.dumps(hashes, indent=2) + "\n")
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written ({error}); free some space, or set HEADTOHEAD_CACHE to another folder"
        ) from error
    return hashes["weights_sha256"]


def _intact_sha256(path: Path) -> str | None:
    """The hash of the weights in a converted file; None where it is missing or not as it was written."""
    notes = path.with_suffix(".json")
    if not path.is_file() or not notes.is_file():
        return None
    try:
        hashes = json.loads(notes.read_bytes())
        weights_sha256, fingerprint = str(hashes["weights_sha256"]), hashes["file_fingerprint"]
    except (ValueError, KeyError, TypeError):
        return None  # the notes are damaged: the caller converts again and says so
    status = path.stat()
    unchanged = _fingerprint_once(path, status.st_size, status.st_mtime_ns) == fingerprint
    return weights_sha256 if unchanged else None


@lru_cache
def _fingerprint_once(path: Path, size: int, modified_ns: int) -> str:
    """One check per process and state of the file, however many models are built from it."""
    return _fingerprint(path, size)


def _fingerprint(path: Path, size: int) -> str:
    """SHA-256 over the SHA-256 of each piece: the pieces are hashed on all cores, hashlib frees the GIL."""

    def hash_piece(offset: int) -> bytes:
        with path.open("rb") as file:
            file.seek(offset)
            return hashlib.sha256(file.read(PIECE_BYTES)).digest()

    with ThreadPoolExecutor() as pool:
        pieces = pool.map(hash_piece, range(0, size, PIECE_BYTES))
        return hashlib.sha256(b"".join(pieces)).hexdigest()


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Hex SHA-256 over the name, type, shape and bytes of every tensor (contiguous, on the CPU), by name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


# --- models whose values come later ------------------------------------------------------------------------


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves out torch.nn.init: drawing values that are replaced at once takes a second, even on "meta"."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def _model_without_values(config: GPTConfig) -> GPTModel:
    with torch.device("meta"), _WithoutInitialisation():
        return GPTModel(config)


# --- reading OpenAI's format -------------------------------------------------------------------------------


def read_checkpoint(folder: Path, config: GPTConfig) -> dict[str, Tensor]:
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
    tensors: dict[str, Tensor] = {}
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


def _split_variable(stored: Tensor, layout: str, parameters: tuple[str, ...]) -> dict[str, Tensor]:
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
    shapes = _parameter_shapes(config)
    result: dict[str, tuple[int, ...]] = {}
    for variable, (layout, parameters) in variable_map(config).items():
        *leading, last = shapes[parameters[0]]
        if layout == TRANSPOSED:
            result[variable] = (1, last, leading[0] * len(parameters))
        else:
            result[variable] = (*leading, last * len(parameters))
    return result


def _parameter_shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    state = _model_without_values(config).state_dict()
    return {name: tuple(tensor.shape) for name, tensor in state.items() if name != TIED_HEAD}


def _data_bytes(config: GPTConfig) -> int:
    """The size of the data file: all float32 values, one after the other."""
    return 4 * sum(math.prod(shape) for shape in _parameter_shapes(config).values())


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


def _read_hparams(path: Path) -> GPTConfig:
    """The model's shape from OpenAI's hparams.json."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {_first_line(error)}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} holds no JSON object; it must give {', '.join(HPARAMS)}")
    for key in HPARAMS:
        _check_positive(path, key, values.get(key))
    if values["n_vocab"] < VOCABULARY:
        raise InputError(
            f"{path}: n_vocab is {values['n_vocab']}, but GPT-2's tokenizer has {VOCABULARY} tokens"
        )
    try:
        return GPTConfig(**{field: values[key] for key, field in HPARAMS.items()})
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def _check_positive(path: Path, key: str, value: object) -> None:
    if value is None:
        raise InputError(f"{path} lacks the key {key}; it must give {', '.join(HPARAMS)}")
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{path}: {key} is {value!r}, but must be a positive whole number")


# --- the embedded demo -------------------------------------------------------------------------------------


def _demo() -> Pretrained:
    config = CONFIGS[DEMO_MODEL]
    source = "DEMO: a small GPT with random weights, generated on this machine; nothing was pretrained"
    return Pretrained(DEMO_MODEL, config, tensors_sha256(_demo_tensors(config)), None, source, is_demo=True)


def _demo_tensors(config: GPTConfig) -> dict[str, Tensor]:
    """GPT-2's initialisation from a fixed seed: normal with std 0.02, smaller where a block writes back."""
    generator = torch.Generator().manual_seed(DEMO_SEED)
    tensors: dict[str, Tensor] = {}
    for name, shape in _parameter_shapes(config).items():
        tensor = torch.zeros(shape, dtype=torch.float32, device="cpu")
        if name.endswith(".scale"):
            tensor.fill_(1.0)
        elif name.endswith(("out_proj.weight", "ff.layers.2.weight")):
            tensor.normal_(0.0, 0.02 / math.sqrt(2 * config.n_layers), generator=generator)
        elif name.endswith(".weight"):
            tensor.normal_(0.0, 0.02, generator=generator)
        tensors[name] = tensor
    return tensors
