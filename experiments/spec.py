"""What to run: the flags of run_all.py as one checked, frozen value, and the identity of each run.

Imports nothing heavy, so that a mistake in a flag is answered at once.
"""

import hashlib
import json
import re
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from headtohead.core.config import CONFIGS
from headtohead.core.errors import InputError
from headtohead.core.files import sha256_of
from headtohead.strategies import DEFAULT, did_you_mean, plugin_name, split_labels

if TYPE_CHECKING:
    from headtohead.core.data import Dataset
    from headtohead.core.engine import EngineOptions
    from headtohead.core.strategy import Variant
    from headtohead.core.training import TrainConfig
    from headtohead.core.weights import Pretrained

Position = Literal["last", "last_real"]
Precision = Literal["fp32", "tf32", "bf16"]
# The chapter's protocol; a flag that is given overrides its one value.
PRESETS: dict[str, dict[str, Any]] = {
    "book": {"seeds": "123", "epochs": 5, "batch_size": 8, "position": "last", "balance": True},
}
_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A set of runs: every strategy label with every seed, on one model and one data set.

    ``model`` and ``data`` are None where the user named none; they then fall back to the embedded demo if the
    real ones can be neither found nor downloaded.

    Raises:
        InputError: a value that cannot be run; one sentence that names the flag.
    """

    strategies: tuple[str, ...] = DEFAULT  # labels such as "lora@r=4"
    settings: tuple[str, ...] = ()  # "lora.learning_rate=5e-5"
    plugins: tuple[Path, ...] = ()
    model: str | None = None
    weights_dir: Path | None = None
    data: str | None = None  # "sms_spam", "demo" or a file
    label_column: str | None = None
    text_column: str | None = None
    balance: bool = True
    max_length: int | None = None  # tokens; None: that of the longest training message
    seeds: tuple[int, ...] = (123,)
    epochs: int = 5
    batch_size: int = 8
    position: Position = "last"
    device: str = "auto"
    precision: Precision = "fp32"
    reference: bool = False
    cache: bool = True  # hidden states of frozen stages are kept and not computed again
    cache_dir: Path | None = None  # for later processes, too
    cache_budget: int | None = None  # bytes in memory; None: half of what is available
    compile: bool = False  # the engine's blocks go through torch.compile
    together: bool = True  # several seeds at once where that is exact
    results_dir: Path = Path("results")
    name: str | None = None  # the experiment's folder; None: <dataset>-<model>
    force: bool = False
    download: bool = True
    command: str = ""

    def __post_init__(self) -> None:
        for flag in ("epochs", "batch_size", "max_length"):
            value = getattr(self, flag)
            if value is not None and value < 1:
                raise InputError(f"--{flag.replace('_', '-')} {value}: must be 1 or more")
        if self.model is not None and self.model not in CONFIGS:
            raise InputError(f"--model {self.model}: no such model; {did_you_mean(self.model, CONFIGS)}")
        if self.model == "demo" and self.weights_dir is not None:
            raise InputError(f"--model demo has its own weights; leave out --weights-dir {self.weights_dir}")
        if self.position not in get_args(Position):
            raise InputError(f"--position {self.position}: {did_you_mean(self.position, get_args(Position))}")
        if self.precision not in get_args(Precision):
            raise InputError(
                f"--precision {self.precision}: {did_you_mean(self.precision, get_args(Precision))}"
            )
        if not self.cache and self.cache_dir is not None:
            raise InputError(f"--no-cache keeps nothing; leave out either it or --cache-dir {self.cache_dir}")
        if not _DEVICE.fullmatch(self.device):
            raise InputError(
                f"--device {self.device}: no such device; use auto, cpu, cuda, cuda:N (cuda:0) or mps"
            )
        if self.name is not None:
            check_name(self.name)

    def train_config(self) -> "TrainConfig":
        """The protocol's settings for the training loop."""
        from headtohead.core.training import TrainConfig

        return TrainConfig(epochs=self.epochs, batch_size=self.batch_size, position=self.position)


def from_arguments(arguments: Namespace, argv: Sequence[str]) -> Experiment:
    """The experiment that parsed flags ask for; ``argv`` is recorded as the command.

    Raises:
        InputError: as :class:`Experiment`, :func:`parse_seeds` and :func:`strategy_labels`.
    """
    preset = choose_preset(arguments.preset)
    chosen = {key: value for key, value in vars(arguments).items() if value is not None}
    values = {**preset, **chosen}
    plugins = tuple(Path(path) for path in values.get("plugin", ()))
    return Experiment(
        strategies=strategy_labels(values.get("strategies"), plugins),
        settings=tuple(values.get("set", ())),
        plugins=plugins,
        model=values.get("model"),
        weights_dir=values.get("weights_dir"),
        data=values.get("data"),
        label_column=values.get("label_column"),
        text_column=values.get("text_column"),
        balance=values["balance"],
        max_length=values.get("max_length"),
        seeds=parse_seeds(values["seeds"]),
        epochs=values["epochs"],
        batch_size=values["batch_size"],
        position=values["position"],
        device=values["device"],
        precision=values["precision"],
        reference=values["reference"],
        cache=values["cache"],
        cache_dir=values.get("cache_dir"),
        cache_budget=parse_size(values["cache_budget"]) if "cache_budget" in values else None,
        compile=values["compile"],
        together=values["together"],
        results_dir=values["results_dir"],
        name=values.get("name"),
        force=values["force"],
        download=not values["offline"],
        command=shlex.join(["python", "run_all.py", *argv]),
    )


def choose_preset(name: str) -> dict[str, Any]:
    """The values of a preset by name; InputError where there is none of that name."""
    if name not in PRESETS:
        raise InputError(f"--preset {name}: no such preset; {did_you_mean(name, PRESETS)}")
    return PRESETS[name]


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"123,124"`` -> ``(123, 124)``; whole numbers from 0, each once."""
    seeds: list[int] = []
    for item in text.split(","):
        word = item.strip()
        if not (word.isascii() and word.isdigit()) or int(word) > _LARGEST_SEED:
            raise InputError(
                f"--seeds {text}: {word!r} is not a whole number from 0 to 2^63 - 1, as in --seeds 123,124"
            )
        if int(word) in seeds:
            raise InputError(f"--seeds {text}: {word} is there twice; a repeated seed only repeats its run")
        seeds.append(int(word))
    return tuple(seeds)


def parse_size(text: str) -> int:
    """``"100MB"`` -> 100,000,000 bytes; units B, KB, MB, GB, TB, and KiB, MiB, GiB, TiB."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text.upper())
    if match is None or (match[3] and not match[2]):
        raise InputError(f"--cache-budget {text}: not a size; write a number and a unit, as in 500MB or 2GB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** " KMGT".index(match[2] or " "))


def strategy_labels(text: str | None, plugins: Sequence[Path] = ()) -> tuple[str, ...]:
    """The labels to run: those named (the chapter's by default), then every plugin not named among them.

    Raises:
        InputError: an empty list, or a plugin whose file name cannot be the name of a strategy.
    """
    names = [plugin_name(path) for path in plugins]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"--plugin: two files are named {name}.py; rename one, its name is the strategy's name"
            )
    labels = list(DEFAULT) if text is None else split_labels(text)
    named = {label.partition("@")[0] for label in labels}
    return (*labels, *(name for name in names if name not in named))


def check_name(name: str) -> None:
    """Raise InputError unless ``name`` can be one plain folder's name on any system."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,99}", name) or name.endswith("."):
        raise InputError(
            f"--name {name!r}: must be a plain folder name of letters, digits and . _ + = @ - (at most 100, "
            "beginning with a letter, a digit or _)"
        )


def safe_name(text: str) -> str:
    """``text`` with everything that a file name may not hold replaced by ``-``, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._+=@-]+", "-", text)[:80].strip(".-") or "unnamed"


def run_id(
    variant: "Variant",
    seed: int,
    config: "TrainConfig",
    dataset: "Dataset",
    pretrained: "Pretrained",
    options: "EngineOptions",
) -> str:
    """``lora@r=4-s123-1a2b3c4d``: equal for equal configurations, different as soon as a result could differ."""
    identity: Mapping[str, Any] = {
        "strategy": variant.name,
        "hyperparameters": asdict(variant.strategy),
        "plugin_sha256": sha256_of(variant.plugin) if variant.plugin else None,
        "seed": seed,
        "train_config": asdict(config),
        "dataset_sha256": dataset.sha256,
        "max_length": dataset.max_length,  # cuts the messages, and the csv files do not show it
        "weights_sha256": pretrained.sha256,
        "device": options.device.partition(":")[0],
        "precision": options.precision,
        "reference": options.reference,
    }
    text = json.dumps(identity, sort_keys=True, default=str)
    return f"{safe_name(variant.label)}-s{seed}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
