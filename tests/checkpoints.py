"""Random checkpoints in OpenAI's TensorFlow format, for tests and benchmarks."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch

from headtohead.core.config import GPTConfig

Variables = dict[str, np.ndarray]


def write_checkpoint(folder: Path, config: GPTConfig, seed: int = 0) -> Path:
    """Write checkpoint, hparams.json and model.ckpt.{data-00000-of-00001,index} with random weights."""
    return write_files(folder, config, random_variables(config, seed))


def write_files(folder: Path, config: GPTConfig, variables: Variables) -> Path:
    """Write the given variables and the hparams.json of ``config``, whether they belong together or not."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {
        "n_vocab": config.vocab_size,
        "n_ctx": config.context_length,
        "n_embd": config.emb_dim,
        "n_head": config.n_heads,
        "n_layer": config.n_layers,
    }
    (folder / "hparams.json").write_text(json.dumps(names))
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "model.ckpt"\nall_model_checkpoint_paths: "model.ckpt"\n'
    )
    _save_tensorflow(folder / "model.ckpt", variables)
    return folder


def random_variables(config: GPTConfig, seed: int = 0) -> Variables:
    """Every variable of OpenAI's model code, by its name: normal with std 0.02, LayerNorm gains near 1."""
    generator = np.random.default_rng(seed)
    variables = {}
    for name, shape in _shapes(config).items():
        values = generator.standard_normal(shape, dtype=np.float32) * np.float32(0.02)
        variables[name] = values + np.float32(1) if name.endswith("/g") else values
    return variables


def _shapes(config: GPTConfig) -> dict[str, tuple[int, ...]]:
    """Written out independently of core.weights, so that a mistake there cannot hide here."""
    D = config.emb_dim
    shapes: dict[str, tuple[int, ...]] = {
        "model/wte": (config.vocab_size, D),
        "model/wpe": (config.context_length, D),
        "model/ln_f/g": (D,),
        "model/ln_f/b": (D,),
    }
    for block in range(config.n_layers):
        prefix = f"model/h{block}"
        shapes |= {
            f"{prefix}/ln_1/g": (D,),
            f"{prefix}/ln_1/b": (D,),
            f"{prefix}/attn/c_attn/w": (1, D, 3 * D),
            f"{prefix}/attn/c_attn/b": (3 * D,),
            f"{prefix}/attn/c_proj/w": (1, D, D),
            f"{prefix}/attn/c_proj/b": (D,),
            f"{prefix}/ln_2/g": (D,),
            f"{prefix}/ln_2/b": (D,),
            f"{prefix}/mlp/c_fc/w": (1, D, 4 * D),
            f"{prefix}/mlp/c_fc/b": (4 * D,),
            f"{prefix}/mlp/c_proj/w": (1, 4 * D, D),
            f"{prefix}/mlp/c_proj/b": (D,),
        }
    return shapes


def _save_tensorflow(prefix: Path, variables: Variables) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    import tensorflow

    names = sorted(variables)
    tensorflow.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tensorflow.constant(variables[name]) for name in names],
    )


def transformers_names(variables: Variables, config: GPTConfig) -> dict[str, torch.Tensor]:
    """OpenAI's variables under the names that transformers gives them: neither transposed nor split."""
    letters = {"w": "weight", "b": "bias", "g": "weight"}
    values = {}
    for variable, stored in variables.items():
        *path, last = variable.removeprefix("model/").split("/")
        if last in letters:
            path.append(letters[last])
        else:  # the embeddings
            path += [last, "weight"]
        block = path[0].removeprefix("h")
        name = ".".join(["h", block, *path[1:]] if block.isdigit() else path)
        values[f"transformer.{name}"] = torch.from_numpy(stored[0] if stored.ndim == 3 else stored)
    return values


def hub_cache(cache: Path, repository: str, checkpoint: Path, commit: str = "0123abc") -> None:
    """Put a checkpoint where huggingface_hub keeps what it downloaded."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    shutil.copytree(checkpoint, folder / "snapshots" / commit)
