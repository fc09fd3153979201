"""The identity of a run: equal for equal configurations, different as soon as a result could differ."""

import ast
import hashlib
import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headtohead import strategies
from headtohead.core.engine import ENGINE_VERSION, WHOLE, Part
from headtohead.experiments.spec.output import safe_name

if TYPE_CHECKING:
    from headtohead.core.data import Dataset
    from headtohead.core.engine import EngineOptions
    from headtohead.core.strategy import Variant
    from headtohead.core.training import TrainConfig
    from headtohead.core.weights import Pretrained

_PACKAGE = "headtohead.strategies."
PACKAGES = ("core", "strategies", "experiments")  # folders beside each other, in a checkout and installed


def run_id(
    variant: "Variant",
    seed: int,
    config: "TrainConfig",
    dataset: "Dataset",
    pretrained: "Pretrained",
    options: "EngineOptions",
    part: Part = WHOLE,
) -> str:
    """``lora@r=4-s123-1a2b3c4d``; ``part`` is what the run gets of the data and the protocol."""
    identity: dict[str, Any] = {
        "strategy": variant.name,
        "hyperparameters": asdict(variant.strategy),
        "code": code_hash(variant),
        "engine": ENGINE_VERSION,
        "seed": seed,
        "train_config": config.as_dict(),
        "dataset_sha256": dataset.sha256,
        "max_length": dataset.max_length,  # cuts the messages, and the csv files do not show it
        "weights_sha256": pretrained.sha256,
        "device": options.device.partition(":")[0],
        "precision": options.precision,
        "reference": options.reference,
        **({"half_prefix": True} if options.half_prefix else {}),
    }
    everything = asdict(WHOLE)
    if some := {name: value for name, value in asdict(part).items() if value != everything[name]}:
        identity["part"] = some
    text = json.dumps(identity, sort_keys=True, default=str)
    return f"{safe_name(variant.label)}-s{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def code_hash(variant: "Variant") -> str:
    """SHA-256 over a strategy's file and every file of the strategies that it imports, directly or not."""
    digest = hashlib.sha256()
    for path in source_files(variant.plugin or strategies.discover()[variant.name]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def package_hash() -> str:
    """SHA-256 over every Python file of headtohead: two machines with the same one compute the same."""
    top = strategies.FOLDER.parent
    digest = hashlib.sha256()
    for path in sorted(path for name in PACKAGES for path in (top / name).rglob("*.py")):
        if path.parent == top / "experiments" / "api":  # lies elsewhere where it is installed
            continue
        digest.update(path.relative_to(top).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def source_files(path: Path) -> list[Path]:
    """A strategy's file, then the files of this package that it needs, each once, by name."""
    needed: dict[Path, None] = {}
    waiting = [path]
    while waiting:
        current = waiting.pop()
        if current in needed:
            continue
        needed[current] = None
        waiting += _imported(ast.parse(current.read_bytes(), str(current)))
    return [path, *sorted(set(needed) - {path})]


def _imported(tree: ast.Module) -> list[Path]:
    """The files of the strategies that a module imports, wherever in it."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = [module.removeprefix(_PACKAGE) for module in modules if module.startswith(_PACKAGE)]
    return [path for name in names if (path := strategies.FOLDER / f"{name}.py").is_file()]


def git_state() -> dict[str, Any]:
    """The checkout's commit and whether files differ from it; both None where the code is in no checkout."""
    folder = strategies.FOLDER.parent
    commit = _git(folder, "rev-parse", "HEAD") if (folder / ".git").exists() else None
    dirty = None if commit is None else bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    return {"git_commit": commit, "git_dirty": dirty}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
