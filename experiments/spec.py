"""What to run, as one checked, frozen value: an Experiment with a section for each concern.

Every setting is declared once, here, with its flag (:mod:`headtohead.experiments.flags`). Imports nothing heavy,
so that a mistake in a flag is answered at once.
"""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, DEMO_MODEL, HUB_NAME, HUB_PREFIX, RANDOM_PREFIX
from headtohead.core.errors import InputError, shown
from headtohead.core.other_splits import SHORT_TO_LONG, split_names
from headtohead.core.readout import READOUTS, ReadoutName
from headtohead.experiments.flags import (
    check_count,
    flag,
    flags_of,
    given_in,
    read_count,
    read_number,
    read_path,
    read_section,
    read_size,
    read_switch,
)
from headtohead.experiments.report_settings import ReportSettings
from headtohead.strategies import DEFAULT, did_you_mean, discover, plugin_name, split_labels

if TYPE_CHECKING:
    from headtohead.core.training import TrainConfig

LauncherName = Literal["local", "ray"]
Precision = Literal["fp32", "tf32", "bf16"]
WeightsKind = Literal["pretrained", "random"]
DEFAULT_SEED = 123
FEW_SEEDS = (123, 124, 125)  # as many as it takes to see how much the seed matters
TUNE_SEED = 23  # none of those that are compared
# A preset is a set of flags; one that is given on the command line overrides its one value.
_CHAPTER = {"epochs": 5, "batch_size": 8, "readout": "last"}
PRESETS: dict[str, dict[str, Any]] = {"book": _CHAPTER, "demo": _CHAPTER}
SUITES = ("bonus", "imdb")  # presets of several experiments each (experiments/bonus_rows.py)
# Learning rates that a preset gives strategies; the book's are far too small for so small a model as the demo's.
# Chosen on validation messages of both data sets while the demo model was made (core/demo/README.md).
PRESET_RATES: dict[str, dict[str, float]] = {
    "book": {},
    "demo": {"head": 5e-3, "last_block": 5e-4, "all_layers": 2e-4, "lora": 1e-3, "from_scratch": 2e-4},
}
_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,4})?|mps")
_LARGEST_GPUS = 1024  # that one run may ask for
_LARGEST_SEED = 2**63 - 1
_RESERVED = re.compile(
    r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE
)  # no file names on Windows


def _read_length(text: str, name: str) -> int | str:
    return text if text == "context" else read_count(text, name)


def _read_file(text: str, name: str) -> str:
    return str(read_path(text, name))


# --- the sections ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which pretrained weights; ``name`` is None where the user named none, which then falls back to the demo."""

    name: str | None = flag(
        None,
        "--model",
        "124M, 355M, 774M, 1558M, demo, or hf:NAME of a GPT-2 on the Hugging Face Hub (default: 124M, else demo)",
        "NAME",
    )
    weights_dir: Path | None = flag(
        None,
        "--weights-dir",
        "folder with a checkpoint of OpenAI's (hparams.json, model.ckpt.*) or of transformers' (config.json, "
        "model.safetensors): DIR/124M/ or DIR itself",
        "DIR",
        read_path,
    )
    weights: WeightsKind = flag(
        "pretrained",
        "--weights",
        "pretrained (default) or random: the same model before its pretraining, for contrast",
        "WHICH",
    )

    def __post_init__(self) -> None:
        if self.weights not in get_args(WeightsKind):
            raise InputError(
                f"--weights {self.weights}: {did_you_mean(self.weights, get_args(WeightsKind))} "
                "(a folder is named with --weights-dir)"
            )
        if self.name is not None and self.name.startswith(HUB_PREFIX):
            self._check_hub_name(self.name)
        elif self.name is not None and self.name not in CONFIGS:
            raise InputError(
                f"--model {self.name}: no such model; {did_you_mean(self.name, CONFIGS)}; hf:NAME names one on the "
                "Hugging Face Hub"
            )
        if self.name == DEMO_MODEL and self.weights_dir is not None:
            raise InputError(f"--model demo has its own weights; leave out --weights-dir {self.weights_dir}")

    def _check_hub_name(self, name: str) -> None:
        if not HUB_NAME.fullmatch(name.removeprefix(HUB_PREFIX)):
            raise InputError(
                f"--model {shown(name)}: after hf: comes the name of a model on the Hub, as in hf:distilgpt2"
            )
        if self.weights_dir is not None:
            raise InputError(f"--model {name} is on the Hub; leave out --weights-dir {self.weights_dir}")

    def as_asked(self, name: str | None) -> str | None:
        """The name under which ``find_pretrained`` finds the weights of the model ``name``."""
        if self.weights == "pretrained":
            return name
        return RANDOM_PREFIX + (name or ("" if self.weights_dir else DEFAULT_MODEL))


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which labelled texts, and how they are taken; ``name`` is "sms_spam", "demo", a file, or None as above."""

    name: str | None = flag(
        None,
        "--data",
        "sms_spam, imdb, demo, hf:NAME[:CONFIG], a file with a label and a text column (CSV, TSV, JSON Lines, Parquet, "
        "SMSSpamCollection, a zip) or a folder with one folder of .txt files per class (default: sms_spam, else demo)",
        "WHAT",
        lambda text, name: str(read_path(text, name)),
    )
    label_column: str | None = flag(None, "--label-column", "the label's column in --data FILE", "NAME")
    text_column: str | None = flag(None, "--text-column", "the text's column in --data FILE", "NAME")
    train: str | None = flag(None, "--train", "the training messages, instead of --data", "FILE", _read_file)
    validation: str | None = flag(
        None, "--validation", "the validation messages (default: a tenth of --train)", "FILE", _read_file
    )
    test: str | None = flag(None, "--test", "the test messages", "FILE", _read_file)
    balance: bool = flag(
        False,
        "--balance",
        "as many rows of every class as the rarest has (default: for sms_spam, and where that keeps half of all rows)",
    )
    keep_all: bool = flag(False, "--no-balance", "keep all rows, however many each class has")
    stratified: bool = flag(False, "--stratified", "give every class the same share in every split")
    drop_duplicates: bool = flag(
        False, "--drop-duplicates", "keep every text once: in test, else in validation, else in training"
    )
    max_length: int | Literal["context"] | None = flag(
        None,
        "--max-length",
        "tokens kept of a message, or context for as many as the model reads (book: the longest training message)",
        "N",
        _read_length,
    )
    splits: tuple[str, ...] = flag(
        (),
        "--splits",
        "repeat the comparison on N splits of the messages, the usual one and random ones, and on short-to-long "
        "(trained on short messages, tested on long ones): 5, short-to-long, or both",
        "LIST",
        lambda text, name: parse_splits(text, name),
    )
    train_sizes: tuple[int, ...] = flag(
        (),
        "--train-sizes",
        "also train on that many messages, class by class alike: 16,32,64,128,256,all (all is always run)",
        "LIST",
        lambda text, name: parse_sizes(text, name),
    )
    download: bool = flag(True, "--offline", "do not try to download anything", off=True)

    def __post_init__(self) -> None:
        if self.max_length not in (None, "context"):
            check_count("--max-length", self.max_length)
        if self.balance and self.keep_all:
            raise InputError("--balance and --no-balance contradict each other; leave one out")
        self._check_files()

    def _check_files(self) -> None:
        given = ", ".join(f"--{split}" for split in self.files or {})
        if self.files and self.name is not None:
            raise InputError(f"{given} are the messages; leave out either them or --data {self.name}")
        if self.files and not {"train", "test"} <= set(self.files):
            raise InputError(f"{given} alone does not do; give both --train FILE and --test FILE")

    @property
    def files(self) -> dict[str, str] | None:
        """Split -> file, where the user names them; None otherwise."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: file for split, file in named.items() if file is not None} or None

    @property
    def balanced(self) -> bool | None:
        """Whether classes are sampled down to the rarest; None where the data decide."""
        return True if self.balance else False if self.keep_all else None


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The protocol; the defaults are the book's."""

    epochs: int = flag(5, "--epochs", "passes over the training messages (book: 5)", "N", read_count)
    batch_size: int = flag(8, "--batch-size", "messages per step (book: 8)", "N", read_count)
    accumulation_steps: int = flag(
        1,
        "--accumulation-steps",
        "batches whose mean gradient makes one update: --batch-size 2 with 4 of them is a batch of 8 in less memory",
        "N",
        read_count,
    )
    readout: ReadoutName = flag(
        "last",
        "--readout",
        "what classifies: the logits of the last position (book, padding included), of the last_real token, of the "
        "first, or of the mean over all positions",
        "WHERE",
        alias="--position",
    )
    causal: bool = flag(
        True,
        "--causal-mask",
        "on, or off: every token attends to all, padding included (book: on)",
        "on|off",
        read_switch,
    )

    outputs: int | None = flag(
        None,
        "--outputs",
        "1: a single output and binary cross-entropy, for two classes (default: one output per class)",
        "1",
        read_count,
    )
    class_weights: bool = flag(
        False, "--class-weights", "weigh every class in the training loss by how rare it is"
    )

    def __post_init__(self) -> None:
        check_count("--epochs", self.epochs)
        if self.outputs not in (None, 1):
            raise InputError(f"--outputs {self.outputs}: use 1, or leave it out for one output per class")
        check_count("--batch-size", self.batch_size)
        check_count("--accumulation-steps", self.accumulation_steps)
        if self.readout not in READOUTS:
            raise InputError(f"--readout {self.readout}: {did_you_mean(self.readout, READOUTS)}")

    def train_config(self) -> "TrainConfig":
        """The same for the training loop."""
        from headtohead.core.training import TrainConfig

        return TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            position=self.readout,
            causal=self.causal,
            outputs=self.outputs,
            class_weights=self.class_weights,
            accumulation_steps=self.accumulation_steps,
        )


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Where and how to compute."""

    device: str = flag("auto", "--device", "auto, cpu, cuda, cuda:N or mps (default: auto)", "NAME")
    precision: Precision = flag(
        "fp32",
        "--precision",
        "fp32 (default; the only one that claims the book's numbers), tf32 or bf16",
        "NAME",
    )
    half_prefix: bool = flag(
        False, "--bf16-prefix", "with --precision bf16, compute what is frozen in bfloat16, too"
    )
    reference: bool = flag(False, "--reference", "compute everything the plain, slow way")
    cache: bool = flag(
        True,
        "--no-cache",
        "compute the frozen blocks again at every step instead of once per message",
        off=True,
    )
    cache_dir: Path | None = flag(
        None,
        "--cache-dir",
        "keep what the frozen blocks computed there, so that tomorrow's run starts training at once",
        "DIR",
        read_path,
    )
    cache_budget: int | None = flag(
        None,
        "--cache-budget",
        "memory for it, such as 500MB; beyond it a memory-mapped file is used (default: half of what is free)",
        "SIZE",
        read_size,
    )
    compile: bool = flag(
        False,
        "--compile",
        "compile what is left with torch.compile: seconds to minutes at the start, a few percent per step",
    )
    recompute: bool = flag(
        False,
        "--checkpoint-activations",
        "compute blocks again in the backward pass instead of keeping them: less memory, a third more time",
    )
    together: bool = flag(
        True,
        "--one-at-a-time",
        "never run several seeds at once; their times are then those of runs alone",
        off=True,
    )

    isolate: bool = flag(
        False,
        "--isolate",
        "do each run in a process of its own: no time or memory depends on what ran before (nothing is shared)",
    )

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise InputError(
                f"--precision {self.precision}: {did_you_mean(self.precision, get_args(Precision))}"
            )
        if not _DEVICE.fullmatch(self.device):
            raise InputError(
                f"--device {self.device}: no such device; use auto, cpu, cuda, cuda:N (cuda:0) or mps"
            )
        self._check_switches()
        if self.cache_dir is not None:
            check_folder("--cache-dir", self.cache_dir)

    def _check_switches(self) -> None:
        """Refuse what contradicts each other instead of ignoring half of it."""
        keeps = {
            f"--cache-dir {self.cache_dir}": self.cache_dir,
            f"--cache-budget {self.cache_budget}": self.cache_budget,
        }
        for words, value in keeps.items():
            if value is not None and not self.cache:
                raise InputError(f"--no-cache keeps nothing; leave out either it or {words}")
            if value is not None and self.reference:
                raise InputError(f"--reference keeps nothing; leave out either it or {words}")
        if self.half_prefix and self.precision != "bf16":
            raise InputError("--bf16-prefix is for --precision bf16; add that or leave it out")
        if self.reference and self.compile:
            raise InputError("--reference computes the plain way; leave out either it or --compile")
        if self.recompute and self.compile:
            raise InputError(
                "--compile keeps what its blocks need; leave out either it or --checkpoint-activations"
            )


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """What is tried on validation messages before the comparison."""

    tune: int | None = flag(
        None,
        "--tune",
        "try N settings of every strategy on the validation messages, and compare the best of each",
        "N",
        read_count,
    )
    sweeps: tuple[str, ...] = flag(
        (),
        "--sweep",
        "the same over values by hand: lora.learning_rate=1e-4/3e-4/1e-3; may be repeated, all combinations are tried",
        "NAME.FIELD=A/B/C",
        repeated=True,
    )
    tune_seeds: tuple[int, ...] | None = flag(
        None,
        "--tune-seeds",
        f"seeds of which the mean chooses (default: {TUNE_SEED})",
        "LIST",
        lambda text, name: parse_seeds(text, name),
    )
    tune_full: bool = flag(
        False,
        "--tune-full",
        "train every trial for all epochs; else all for a fifth of them, and the best to the end",
    )
    untuned: bool = flag(
        False, "--untuned", "also run every tuned strategy at its defaults, beside the comparison"
    )

    def __post_init__(self) -> None:
        if self.tune is not None:
            check_count("--tune", self.tune)
        needs_trials = {
            "--tune-seeds": self.tune_seeds is not None, "--tune-full": self.tune_full, "--untuned": self.untuned,
        }  # fmt: skip
        for name, given in needs_trials.items():
            if given and not self.any:
                raise InputError(f"{name} says how to tune; give --tune N or --sweep, too, or leave it out")

    @property
    def any(self) -> bool:
        """Whether something is tried."""
        return self.tune is not None or bool(self.sweeps)


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Where results go and what is done with those that are there."""

    results_dir: Path = flag(Path("results"), "--results-dir", "(default: results)", "DIR", read_path)
    name: str | None = flag(
        None, "--name", "the experiment's folder (default: DATA-MODEL)", "NAME", lambda text, name: text
    )
    force: bool = flag(False, "--force", "do finished runs again, too")
    log: str | None = flag(
        None,
        "--log",
        "book: print every run's history in the chapter's lines (they are in its log.txt, too)",
        "book",
    )
    only: bool = flag(
        False,
        "--only",
        "report this command's runs alone, not all that the folder holds of the same protocol",
    )
    tensorboard: bool = flag(
        False, "--tensorboard", "event files for TensorBoard in the experiment's folder (extra `tensorboard`)"
    )
    mlflow: bool = flag(
        False, "--mlflow", "the runs in MLflow, too, where MLFLOW_TRACKING_URI says (extra `mlflow`)"
    )

    def __post_init__(self) -> None:
        if self.log not in (None, "book"):
            raise InputError(f"--log {self.log}: use book, or leave it out")
        if self.name is not None:
            check_name(self.name)
        check_folder("--results-dir", self.results_dir)


@dataclass(frozen=True, kw_only=True)
class LaunchSettings:
    """Where the runs happen."""

    launcher: LauncherName = flag(
        "local", "--launcher", "local (this process, default) or ray (a cluster, or all cores here)", "WHERE"
    )
    address: str | None = flag(
        None,
        "--address",
        "the Ray cluster to join, HOST:PORT or auto (default: one is started on this machine)",
        "HOST:PORT",
    )
    cpus_per_run: int | None = flag(
        None, "--cpus-per-run", "cores, and threads, of each run in a cluster (default: 1)", "N", read_count
    )
    gpus_per_run: float | None = flag(
        None,
        "--gpus-per-run",
        "GPUs of each run in a cluster; 0.5 lets two share one (default: 1 with --device cuda, else 0)",
        "N",
        read_number,
    )
    max_concurrent: int | None = flag(
        None,
        "--max-concurrent",
        "groups of runs at once in a cluster (default: all that fit)",
        "N",
        read_count,
    )
    retries: int | None = flag(
        None,
        "--retries",
        "how often a run begins again when its worker or node dies (default: 3); one that fails does not",
        "N",
        read_count,
    )
    shard: tuple[int, int] | None = flag(
        None,
        "--shard",
        "do every N-th group of runs alone, beginning with the I-th: for Slurm and the like, then --merge",
        "I/N",
        lambda text, name: parse_shard(text),
    )

    def __post_init__(self) -> None:
        if self.launcher not in get_args(LauncherName):
            raise InputError(
                f"--launcher {self.launcher}: {did_you_mean(self.launcher, get_args(LauncherName))}"
            )
        for name in ("address", "cpus_per_run", "gpus_per_run", "max_concurrent", "retries"):
            value, words = getattr(self, name), f"--{name.replace('_', '-')}"
            if value is not None and self.launcher != "ray":
                raise InputError(f"{words} {value} is for a cluster; add --launcher ray or leave it out")
        if self.cpus_per_run is not None:
            check_count("--cpus-per-run", self.cpus_per_run)
        if self.max_concurrent is not None:
            check_count("--max-concurrent", self.max_concurrent)
        if self.gpus_per_run is not None and not 0 <= self.gpus_per_run <= _LARGEST_GPUS:
            raise InputError(f"--gpus-per-run {self.gpus_per_run}: must lie between 0 and {_LARGEST_GPUS}")
        if self.gpus_per_run is not None and self.gpus_per_run > 1 and self.gpus_per_run % 1:
            raise InputError(
                f"--gpus-per-run {self.gpus_per_run}: must be a whole number, or a part of one GPU"
            )
        if self.retries is not None and not 0 <= self.retries <= 100:
            raise InputError(f"--retries {self.retries}: must lie between 0 and 100")


def read_pairs(text: str, name: str) -> tuple[tuple[str, str], ...]:
    """``"head:lora,lora:dora"`` -> (("head", "lora"), ("lora", "dora"))."""
    pairs = []
    for item in text.split(","):
        first, colon, second = (part.strip() for part in item.partition(":"))
        if not (first and colon and second) or first == second:
            raise InputError(
                f"{name} {text}: {item.strip()!r} is no pair of two labels, as in {name} head:lora"
            )
        pairs.append((first, second))
    return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class SequentialSettings:
    """Seeds until pairs are settled."""

    until_settled: bool = flag(
        False,
        "--until-settled",
        "add seeds until the pairs are settled or --max-seeds is reached; looks are planned beforehand",
    )
    max_seeds: int = flag(20, "--max-seeds", "seeds of each strategy at most (default: 20)", "N", read_count)
    pairs: tuple[tuple[str, str], ...] = flag(
        (),
        "--pairs",
        "what is to be settled, such as head:lora,lora:dora (default: every pair)",
        "LIST",
        read_pairs,
    )

    def __post_init__(self) -> None:
        if not self.until_settled and (self.pairs or self.max_seeds != 20):
            raise InputError("--max-seeds and --pairs are for --until-settled; add it, or leave them out")
        if not 3 <= self.max_seeds <= 1000:
            raise InputError(f"--max-seeds {self.max_seeds}: must be from 3 to 1000")

    def check(self, labels: Sequence[str], seeds: Sequence[int] | None) -> None:
        """InputError where these strategies and first seeds cannot be looked at again and again."""
        known = dict.fromkeys(labels)
        for label in (each for pair in self.pairs for each in pair):
            if label not in known:
                raise InputError(f"--pairs: {label!r} is not compared; {did_you_mean(label, known)}")
        if self.until_settled and seeds is not None and not 2 <= len(seeds) <= self.max_seeds:
            raise InputError(
                f"--until-settled begins with {len(seeds)} of --seeds, but needs from 2 to --max-seeds {self.max_seeds}"
            )


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A set of runs: every strategy label with every seed, on one model and one data set.

    Raises:
        InputError: a value that cannot be run; one sentence that names the flag.
    """

    strategies: tuple[str, ...] = flag(
        DEFAULT,
        "--strategies",
        "strategies separated by commas; NAME@FIELD=VALUE+FIELD=VALUE sets hyperparameters; a family's name or "
        f"all stand for their members (default: {','.join(DEFAULT)})",
        "LIST",
    )
    settings: tuple[str, ...] = flag(
        (),
        "--set",
        "a hyperparameter of every variant of a strategy; may be repeated",
        "NAME.FIELD=VALUE",
        repeated=True,
    )
    plugins: tuple[Path, ...] = flag(
        (),
        "--plugin",
        "a strategy file from anywhere; the strategy is named like the file; may be repeated",
        "FILE",
        read_path,
        repeated=True,
    )
    seeds: tuple[int, ...] | None = flag(
        None,
        "--seeds",
        f"seeds separated by commas (default: {','.join(map(str, FEW_SEEDS))} where that takes minutes, "
        f"else {DEFAULT_SEED})",
        "LIST",
        lambda text, name: parse_seeds(text),
    )
    preset: str | None = flag(
        None,
        "--preset",
        f"protocol to start from: {', '.join(PRESETS)} (default: demo with the demo model, else book); or the book's "
        f"bonus experiments, row by row: {', '.join(SUITES)}",
        "NAME",
    )
    rows: str | None = flag(
        None, "--rows", "rows of the preset bonus or imdb, such as 1,3,16 (default: all)", "LIST"
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    launch: LaunchSettings = field(default_factory=LaunchSettings)
    sequential: SequentialSettings = field(default_factory=SequentialSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    command: str = ""  # as it was typed, for the report

    TITLES: ClassVar[dict[str, str]] = {
        "model": "model",
        "data": "data",
        "training": "protocol (defaults: the preset's)",
        "tuning": "tuning (on validation messages; test messages are never touched)",
        "engine": "device and speed (what is left out changes no number)",
        "launch": "where runs happen",
        "sequential": "as many seeds as it takes",
        "output": "results",
        "report": "what the report is asked",
    }

    def __post_init__(self) -> None:
        if self.rows is not None and self.preset not in SUITES:
            raise InputError(
                f"--rows {self.rows} needs a preset that has rows: --preset {' or '.join(SUITES)}"
            )
        self.sequential.check(self.strategies, self.seeds)
        if self.launch.shard is not None and self.sequential.until_settled:
            raise InputError("--shard divides runs that are known; leave out either it or --until-settled")
        if self.engine.isolate and self.launch.launcher == "ray":
            raise InputError("--isolate is of this machine; leave out either it or --launcher ray")
        if self.launch.shard is not None and self.seeds is None:
            part, parts = self.launch.shard
            raise InputError(
                f"--shard {part}/{parts} needs --seeds, so that every shard divides the same runs, as in --seeds 123"
            )
        if self.launch.shard is not None and self.tuning.any:
            raise InputError(
                "--shard divides runs that are known, and a tuning chooses them; tune first, then --shard with --set"
            )
        if self.launch.launcher == "ray" and self.engine.isolate:
            raise InputError("--isolate is for runs on this machine; leave out either it or --launcher ray")
        if self.launch.launcher == "ray" and not re.fullmatch("auto|cpu|cuda", self.engine.device):
            raise InputError(
                f"--device {self.engine.device}: a cluster gives each run its own GPU; use cuda, cpu or auto"
            )

    @classmethod
    def sections(cls) -> dict[str, type]:
        """Name -> dataclass of every section, in the order of --help."""
        kinds = {each.name: each.default_factory for each in fields(cls)}
        return {name: kinds[name] for name in cls.TITLES}  # type: ignore[misc]  # a class is its own factory

    @classmethod
    def of(cls, given: Mapping[str, Any], command: str = "") -> "Experiment":
        """The experiment of some flags by key ("weights_dir"), as texts or as values; a preset fills the others.

        Raises:
            InputError: an unknown key, or a value that cannot be run.
        """
        values = {**choose_preset(given.get("preset", "book")), **given}
        unknown = sorted(set(values) - set(cls.keys()))
        if unknown:
            raise InputError(f"there is no setting {unknown[0]!r}; {did_you_mean(unknown[0], cls.keys())}")
        sections = {name: kind(**read_section(kind, values)) for name, kind in cls.sections().items()}
        if sections["tuning"].any and sections["launch"].shard:
            raise InputError(
                "--shard: every shard would try all settings itself; tune without it and give what was chosen by --set"
            )
        own = read_section(cls, values)
        own["strategies"] = strategy_labels(own.get("strategies"), own.get("plugins", ()))
        return cls(**own, **sections, command=command)

    def given(self) -> dict[str, Any]:
        """What :meth:`of` makes an equal experiment of, as values that JSON knows."""
        parts = (self, *(getattr(self, name) for name in self.sections()))
        found = {key: value for part in parts for key, value in given_in(part).items()}
        return found | {"seeds": ",".join(map(str, self.seeds))} if self.seeds else found

    @classmethod
    def keys(cls) -> list[str]:
        """The key of every flag."""
        return [
            key
            for section in (cls, *cls.sections().values())
            for _, each in flags_of(section)
            for key in each.keys
        ]


# --- checks and readers ------------------------------------------------------------------------------------


def choose_preset(name: str) -> dict[str, Any]:
    """The values of a preset by name; InputError where there is none of that name."""
    if name in SUITES:
        return {}
    if name not in PRESETS:
        raise InputError(f"--preset {name}: no such preset; {did_you_mean(name, [*PRESETS, *SUITES])}")
    return PRESETS[name]


def parse_seeds(text: str, name: str = "--seeds") -> tuple[int, ...]:
    """``"123,124"`` -> ``(123, 124)``; whole numbers from 0, each once."""
    seeds: list[int] = []
    for item in text.split(","):
        word = item.strip()
        if not (word.isascii() and word.isdigit()) or len(word) > 19 or int(word) > _LARGEST_SEED:
            raise InputError(
                f"{name} {text}: {word!r} is not a whole number from 0 to 2^63 - 1, as in {name} 123,124"
            )
        if int(word) in seeds:
            raise InputError(f"{name} {text}: {word} is there twice; a repeated seed only repeats its run")
        seeds.append(int(word))
    return tuple(seeds)


def parse_splits(text: str, name: str) -> tuple[str, ...]:
    """``"3,short-to-long"`` -> ``("random-2", "random-3", "short-to-long")``: the splits beside the usual one."""
    names: list[str] = []
    for word in (item.strip() for item in text.split(",")):
        if word == SHORT_TO_LONG:
            names.append(word)
        elif re.fullmatch(r"[0-9]{1,3}", word) and int(word) > 1:
            names += split_names(int(word))
        else:
            raise InputError(
                f"{name} {shown(text)}: {shown(word)} is neither a number of splits from 2 to 999 nor {SHORT_TO_LONG}"
            )
    if len(set(names)) < len(names):
        raise InputError(f"{name} {shown(text)}: names a split twice; give one number of splits")
    return tuple(names)


def parse_sizes(text: str, name: str) -> tuple[int, ...]:
    """``"64,16,all"`` -> ``(16, 64)``; ``all`` is what a comparison has anyway."""
    sizes = [read_count(word.strip(), name) for word in text.split(",") if word.strip().lower() != "all"]
    for size in sizes:
        check_count(name, size)
        if sizes.count(size) > 1:
            raise InputError(f"{name} {text}: {size} is there twice; name every size once")
    return tuple(sorted(sizes))


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/8"`` -> ``(2, 8)``: the second of eight parts."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--shard {text}: not I/N with I from 1 to N, as in --shard 2/8")
    return int(match[1]), int(match[2])


def strategy_labels(given: str | Sequence[str] | None, plugins: Sequence[Path] = ()) -> tuple[str, ...]:
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
    text = given if given is None or isinstance(given, str) else ",".join(given)
    labels = list(DEFAULT) if text is None else expand_families(split_labels(text))
    named = {label.partition("@")[0] for label in labels}
    return (*labels, *(name for name in names if name not in named))


def expand_families(labels: Sequence[str]) -> list[str]:
    """Labels in which ``all`` and the name of a family stand for every strategy, or every one of that family."""
    from headtohead.strategies._catalogue import by_family, read_catalogue

    if set(labels) <= set(discover()):
        return list(labels)  # no family among them
    members = {name: [each.name for each in group] for name, group in by_family(read_catalogue()).items()}
    members["all"] = [name for group in members.values() for name in group]
    return list(dict.fromkeys(name for label in labels for name in members.get(label, [label])))


def check_name(name: str, flag: str = "--name") -> None:
    """Raise InputError unless ``name`` can be one plain folder's name on any system."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,99}", name) or name.endswith("."):
        raise InputError(
            f"{flag} {name!r}: must be a plain folder name of letters, digits and . _ + = @ - (at most 100, "
            "beginning with a letter, a digit or _)"
        )
    if _RESERVED.fullmatch(name):
        raise InputError(f"{flag} {name}: Windows reserves this name for a device; choose another")


def check_folder(name: str, path: Path) -> None:
    """InputError unless ``path`` is a folder that can be written, or can be made; makes nothing."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise InputError(f"{name} {path}: {existing} is a file; name a folder")
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise InputError(
            f"{name} {path}: {existing} cannot be written ({error.strerror}); name another folder"
        ) from error


def safe_name(text: str) -> str:
    """``text`` with everything that a file name may not hold replaced by ``-``, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._+=@-]+", "-", text)[:80].strip(".-") or "unnamed"
