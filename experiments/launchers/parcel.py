"""What another process needs to build the same engine and the same runs: plain values and arrays, no classes.

A strategy travels as its name, its label and its field values; a plugin's as the text of its file besides.
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from headtohead.core.config import GPTConfig
from headtohead.core.data import Dataset, Split
from headtohead.core.engine import Engine, EngineOptions, Part
from headtohead.core.engine.plan import Plan
from headtohead.core.errors import InputError
from headtohead.core.files import cache_dir, write_bytes_atomic
from headtohead.core.training import SPLITS, TrainConfig
from headtohead.core.weights import Pretrained
from headtohead.core.weights.converted import intact_sha256, read, store
from headtohead.experiments.identity import package_hash
from headtohead.experiments.runs import Run
from headtohead.strategies import rebuild_variant

Plain = dict[str, Any]
Fetch = Callable[[], dict[str, np.ndarray]]
NODE_FOLDER = "cluster"  # below a node's cache: the weights that its workers map, and plugins
_SPLIT_TENSORS = ("token_ids", "last_position", "labels")


# --- in the process that hands out work ------------------------------------------------------------------------


def pack_engine(engine: Engine, options: EngineOptions) -> Plain:
    """Everything of an engine but its weights; ``options`` are those of the engines to be built."""
    pretrained, dataset = engine.pretrained, engine.dataset
    splits = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        arrays = {key: getattr(split, key).numpy() for key in _SPLIT_TENSORS}
        splits[name] = {"texts": list(split.texts), **arrays}
    own = {each.name: getattr(dataset, each.name) for each in fields(Dataset) if each.name not in SPLITS}
    # The files are written, and what is said of them is said, here alone.
    own |= {"csv": {}, "label_names": list(dataset.label_names), "preparation": None}
    folder = pretrained.weights_dir
    return {
        "package": package_hash(),
        "torch": str(torch.__version__),
        "pretrained": {
            "name": pretrained.name,
            "config": asdict(pretrained.config),
            "sha256": pretrained.sha256,
            "source": pretrained.source,
            "is_demo": pretrained.is_demo,
            "weights_dir": str(folder.resolve()) if folder else None,
        },
        "dataset": own,
        "splits": splits,
        "config": asdict(engine.config),
        # Hidden states are kept by this process; what is below its folders exists for no other.
        "options": asdict(options) | {"cache_dir": None},
    }


def pack_weights(pretrained: Pretrained) -> dict[str, np.ndarray]:
    """Name -> array; numpy's go into an object store without a copy."""
    return {name: tensor.numpy() for name, tensor in pretrained.read().items()}


def pack_run(run: Run, retries: int) -> Plain:
    """A run as values; ``retries``: how often it was begun in vain."""
    variant = run.variant
    return {
        "name": variant.name,
        "label": variant.label,
        "values": {each.name: getattr(variant.strategy, each.name) for each in fields(variant.strategy)},
        "plugin": variant.plugin.read_text(encoding="utf-8") if variant.plugin else None,
        "seed": run.seed,
        "run_id": run.run_id,
        "part": asdict(run.part),
        "trial_of": run.trial_of,
        "retries": retries,
    }


# --- in the process that does it -------------------------------------------------------------------------------


def check_same_code(parcel: Plain, where: str) -> None:
    """InputError unless this process has the code and the torch of the one that made the parcel."""
    theirs = {"headtohead": parcel["package"], "torch": parcel["torch"]}
    ours = {"headtohead": package_hash(), "torch": str(torch.__version__)}
    for name, version in theirs.items():
        if ours[name] != version:
            short = {"headtohead": f"{ours[name][:12]} instead of {version[:12]}"}
            said = short.get(name, f"{ours[name]} instead of {version}")
            raise InputError(
                f"the node {where} has another {name} ({said}); install the same one there and run again"
            )


def unpack_engine(parcel: Plain, weights: "Weights") -> Engine:
    """The engine that a parcel describes."""
    about = dict(parcel["pretrained"])
    config = GPTConfig(**about.pop("config"))
    folder = about.pop("weights_dir")
    path, tensors_sha256 = weights.on_node(about["sha256"])
    pretrained = Pretrained(
        config=config,
        read=lambda: read(path, tensors_sha256),
        weights_dir=Path(folder) if folder else None,
        **about,
    )
    options = dict(parcel["options"])
    allowed = options.pop("allowed")
    allowed["notes"] = tuple(allowed["notes"])
    return Engine(
        pretrained,
        _dataset(parcel),
        TrainConfig(**parcel["config"]),
        EngineOptions(allowed=Plan(**allowed), **options),
    )


class Weights:
    """The pretrained weights on a node: one file in its cache, which every worker there maps.

    Args:
        fetch: gives the arrays; asked by the first worker of a node that has no such file yet.
    """

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def on_node(self, sha256: str) -> tuple[Path, str]:
        """The file, which is written if the node does not have it, and the hash of its tensors."""
        path = cache_dir() / NODE_FOLDER / f"{sha256}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            found = intact_sha256(path)
            if found is None:
                found = store({name: as_tensor(array) for name, array in self._fetch().items()}, path)
        return path, found


def unpack_run(about: Plain) -> Run:
    """The run that :func:`pack_run` described; a plugin's text becomes a file of this node's cache."""
    plugin = None
    if (text := about["plugin"]) is not None:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        plugin = cache_dir() / NODE_FOLDER / "plugins" / digest / f"{about['name']}.py"
        if not plugin.is_file():
            write_bytes_atomic(plugin, text.encode("utf-8"))
    variant = rebuild_variant(about["name"], about["label"], about["values"], plugin)
    return Run(variant, about["seed"], about["run_id"], None, Part(**about["part"]), about["trial_of"])


def pack_folder(folder: Path) -> dict[str, np.ndarray]:
    """Every file of a folder: its path in it -> its bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): np.fromfile(path, np.uint8) for path in files}


def unpack_folder(files: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write a folder that :func:`pack_folder` has read."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.tobytes())


def as_tensor(array: np.ndarray) -> Tensor:
    """A tensor over an array that may be read only, as those of an object store are; it is never written to."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _dataset(parcel: Plain) -> Dataset:
    splits: dict[str, Any] = {
        name: Split(tuple(values["texts"]), *(as_tensor(values[key]) for key in _SPLIT_TENSORS))
        for name, values in parcel["splits"].items()
    }
    own = parcel["dataset"]
    return Dataset(**{**own, "label_names": tuple(own["label_names"])}, **splits)
