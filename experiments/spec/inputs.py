"""Which model and which messages."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, DEMO_MODEL, HUB_NAME, HUB_PREFIX, RANDOM_PREFIX
from headtohead.core.errors import InputError, shown
from headtohead.core.other_splits import SHORT_TO_LONG, split_names
from headtohead.experiments.flags import check_count, flag, read_count, read_path
from headtohead.strategies import did_you_mean

WeightsKind = Literal["pretrained", "random"]


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


def _read_length(text: str, name: str) -> int | str:
    return text if text == "context" else read_count(text, name)


def _read_file(text: str, name: str) -> str:
    return str(read_path(text, name))


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
        parse_splits,
    )
    train_sizes: tuple[int, ...] = flag(
        (),
        "--train-sizes",
        "also train on that many messages, class by class alike: 16,32,64,128,256,all (all is always run)",
        "LIST",
        parse_sizes,
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
