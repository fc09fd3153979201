"""A finetuned classifier: made from a pretrained GPT, kept on disk, loaded again, and asked.

    headtohead classify results/NAME/runs/RUN "You won a prize, call now" "see you at eight"
    cat messages.txt | headtohead classify results/NAME/runs/RUN

On disk a classifier is two files: ``classifier.safetensors`` with only the tensors that the pretrained model
does not already have, and ``classifier.json`` with everything that is needed to rebuild the rest.
Source: chapter 6 of "Build a Large Language Model (From Scratch)" (classify_review).
"""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headtohead.core.config import CONFIGS, RANDOM_PREFIX, GPTConfig
from headtohead.core.device import resolve_device
from headtohead.core.errors import InputError, shown
from headtohead.core.files import atomic_directory, file_errors, sha256_of
from headtohead.core.json_files import build, read_object
from headtohead.core.model import GPTModel
from headtohead.core.readout import Readout
from headtohead.core.single_output import make_head
from headtohead.core.strategy import Method, Strategy, Variant, freeze, unfreeze
from headtohead.core.strategy_files import load_file as load_plugin
from headtohead.core.strategy_files import load_module
from headtohead.core.tokenizer import GPT2, Tokenizer
from headtohead.core.tokens import encode_texts
from headtohead.core.weights import Pretrained, find_pretrained

TENSORS = "classifier.safetensors"
DESCRIPTION = "classifier.json"
SCHEMA_VERSION = 3
FIRST_READABLE = 2  # says "position" instead of "readout", and nothing of a causal mask
LARGEST_SEED = 2**63 - 2  # one more is drawn with
TRAIN_AGAIN = "train that run again (--force)"


def make_classifier(
    model: GPTModel, strategy: Strategy, n_classes: int, seed: int, outputs: int | None = None
) -> None:
    """Turn a pretrained ``model`` into a classifier whose parameters train as ``strategy`` says, in place.

    Everything is frozen, a new head ``Linear(emb_dim, n_classes)`` drawn after ``manual_seed(seed)``, the
    strategy applied (it draws next), and the head unfrozen last. ``outputs``: 1 for a head with a single output.
    """
    strategy.check(model.config)
    freeze(model)
    torch.manual_seed(seed)
    model.out_head = make_head(model.config.emb_dim, n_classes, outputs)
    freeze(model.out_head)
    strategy.apply(model)
    if strategy.trains_head:
        unfreeze(model.out_head)


@dataclass(frozen=True)
class ClassifierInfo:
    """What ``classifier.json`` holds: all that is needed to rebuild a classifier around its tensors."""

    strategy: str
    label: str
    hyperparameters: dict[str, Any]
    plugin: str | None
    plugin_sha256: str | None
    model: str
    model_config: dict[str, Any]
    model_sha256: str
    weights_dir: str | None
    label_names: list[str]
    max_length: int
    readout: str
    seed: int
    tensors_sha256: str = ""
    untrained_tensors: list[str] | None = None
    causal: bool = True  # whether a token attends to itself and those before it only
    outputs: int | None = None  # of the head; None for one per class
    schema_version: int = SCHEMA_VERSION
    sha256: str = ""


def own_sha256(values: Mapping[str, Any]) -> str:
    """Hex SHA-256 over everything else in a description; what its ``sha256`` must be."""
    text = json.dumps({**values, "sha256": ""}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def describe_classifier(
    variant: Variant,
    pretrained: Pretrained,
    label_names: Sequence[str],
    max_length: int,
    readout: str,
    seed: int,
    outputs: int | None = None,
) -> ClassifierInfo:
    """The description of a classifier that is about to be saved."""
    strategy, plugin = variant.strategy, variant.plugin
    assert isinstance(strategy, Strategy)
    return ClassifierInfo(
        strategy=variant.name,
        label=variant.label,
        hyperparameters={field.name: getattr(strategy, field.name) for field in fields(strategy)},
        plugin=str(plugin.resolve()) if plugin else None,
        plugin_sha256=sha256_of(plugin) if plugin else None,
        model=pretrained.name,
        model_config=asdict(pretrained.config),
        model_sha256=pretrained.sha256,
        weights_dir=str(pretrained.weights_dir.resolve()) if pretrained.weights_dir else None,
        label_names=list(label_names),
        max_length=max_length,
        readout=readout,
        causal=pretrained.config.causal,
        outputs=outputs,
        seed=seed,
    )


def name_plugin(directory: Path, plugin: Path) -> None:
    """Say in a saved classifier where its strategy's file lies; another machine has trained it from a copy."""
    path = directory / DESCRIPTION
    info = build(ClassifierInfo, read_object(path, TRAIN_AGAIN), str(path), TRAIN_AGAIN)
    info = replace(info, plugin=str(plugin.resolve()))
    _describe(directory, replace(info, sha256=own_sha256(asdict(info))))


def _describe(folder: Path, info: ClassifierInfo) -> None:
    (folder / DESCRIPTION).write_text(json.dumps(asdict(info), indent=2) + "\n", encoding="utf-8")


def untrained_differences(model: GPTModel, rebuilt: GPTModel) -> list[str]:
    """Tensors that are not trained and yet are not as a rebuilt classifier has them, so they must be saved, too.

    Args:
        model: the finetuned classifier.
        rebuilt: the same strategy applied to a fresh pretrained model under another seed. Random projections of
            some methods differ from it, for example.
    """
    trained, other = trained_names(model), rebuilt.state_dict()
    return [
        name
        for name, tensor in model.state_dict().items()
        if name not in trained and _differs(tensor, other.get(name))
    ]


def trained_names(model: GPTModel) -> set[str]:
    """The names of the parameters that train."""
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _differs(tensor: Tensor, other: Tensor | None) -> bool:
    return other is None or tensor.shape != other.shape or not torch.equal(tensor.cpu(), other.cpu())


def save_classifier(
    directory: Path, model: GPTModel, extra: Sequence[str], info: ClassifierInfo
) -> ClassifierInfo:
    """Write the trained tensors, ``extra`` ones and the description, whole or not at all.

    Args:
        directory: where ``classifier.safetensors`` and ``classifier.json`` go.
        model: the finetuned classifier.
        extra: from :func:`untrained_differences`.
        info: from :func:`describe_classifier`.

    Returns:
        The description as written, with the hash of the tensors.
    """
    wanted = trained_names(model) | set(extra)
    state = model.state_dict()
    tensors = {name: tensor.cpu().contiguous().clone() for name, tensor in state.items() if name in wanted}
    with atomic_directory(directory) as folder:
        save_file(tensors, folder / TENSORS)
        info = replace(info, tensors_sha256=sha256_of(folder / TENSORS), untrained_tensors=list(extra))
        info = replace(info, sha256=own_sha256(asdict(info)))
        _describe(folder, info)
    return info


def size_on_disk(directory: Path) -> int:
    """Bytes of a saved classifier."""
    return sum((directory / name).stat().st_size for name in (TENSORS, DESCRIPTION))


def rebuild(
    pretrained: Pretrained, strategy: Strategy, n_classes: int, seed: int, outputs: int | None = None
) -> GPTModel:
    """A fresh classifier in evaluation mode, as saving and loading need it."""
    model = pretrained.build()
    make_classifier(model, strategy, n_classes, seed, outputs)
    return model.eval()


def load_tensors(directory: Path, model: GPTModel, info: ClassifierInfo) -> None:
    """Put the saved tensors into a rebuilt classifier.

    Raises:
        InputError: the file is missing, damaged, or does not fit the classifier that its description builds.
    """
    path = directory / TENSORS
    try:
        if sha256_of(path) != info.tensors_sha256:
            raise InputError(f"{path} was changed or damaged after it was written; {TRAIN_AGAIN}")
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} cannot be read ({error}); {TRAIN_AGAIN}") from error
    state = model.state_dict(keep_vars=True)
    for name, tensor in tensors.items():
        if name not in state or state[name].shape != tensor.shape:
            raise InputError(
                f"{path}: tensor {name!r} does not fit the classifier that {DESCRIPTION} describes"
            )
        with torch.no_grad():
            state[name].copy_(tensor)


@dataclass
class Classifier:
    """A finetuned classifier, ready to be asked."""

    model: GPTModel
    info: ClassifierInfo
    strategy: Strategy
    pretrained: Pretrained
    device: str = "cpu"

    @property
    def tokenizer(self) -> Tokenizer:
        """What cuts texts into tokens."""
        return self.pretrained.tokenizer or GPT2

    @property
    def readout(self) -> Readout:
        """What the class is read from."""
        return Readout(self.info.readout, self.info.causal)

    def logits(self, texts: Sequence[str]) -> Tensor:
        """Class logits (N, C) of texts, each padded or truncated to the length used in training."""
        token_ids, last_position = encode_texts(texts, self.info.max_length, self.tokenizer)
        positions = self.readout.positions(last_position, self.info.max_length)
        numbers = torch.arange(len(texts)).split(32)
        with torch.inference_mode():
            parts = [
                self.model.class_logits(
                    token_ids[rows].to(self.device),
                    None if positions is None else positions[rows].to(self.device),
                )
                for rows in numbers
            ]
        return torch.cat(parts).cpu()

    def classify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """The most probable label of each text and its probability."""
        if not texts:
            return []
        probabilities, classes = self.logits(texts).softmax(dim=-1).max(dim=-1)
        names = [self.info.label_names[index] for index in classes.tolist()]
        return list(zip(names, probabilities.tolist(), strict=True))


def load_classifier(
    directory: Path, *, weights_dir: Path | None = None, plugin: Path | None = None, device: str = "cpu"
) -> Classifier:
    """Load a classifier from a run's folder or from its ``classifier`` folder.

    Raises:
        InputError: no classifier there, a damaged one, another base model than the one it was trained on, or a
            plugin strategy whose file is gone or was changed.
    """
    device = resolve_device(device)
    with file_errors(
        f"reading the classifier in {directory}", "give a run's folder such as results/NAME/runs/RUN"
    ):
        directory = directory if (directory / DESCRIPTION).is_file() else directory / "classifier"
        info = read_info(directory)
        pretrained = _base_model(info, weights_dir)
        strategy = _strategy(info, plugin, directory / DESCRIPTION)
        strategy.check(pretrained.config)
        # Any seed will do: whatever depends on it is among the saved tensors.
        model = rebuild(pretrained, strategy, len(info.label_names), info.seed + 1, info.outputs)
        load_tensors(directory, model, info)
    return Classifier(model.to(device), info, strategy, pretrained, device)


def read_info(directory: Path) -> ClassifierInfo:
    """The description of a saved classifier.

    Raises:
        InputError: there is none, it is damaged or was changed, or it is of another version.
    """
    path = directory / DESCRIPTION
    try:
        values = read_object(path, TRAIN_AGAIN)
    except FileNotFoundError:
        raise InputError(
            f"{directory} holds no finetuned classifier; give a run's folder such as results/NAME/runs/RUN"
        ) from None
    version, sha256 = values.get("schema_version"), values.get("sha256")
    if version not in (FIRST_READABLE, SCHEMA_VERSION):
        raise InputError(f"{path} was written by another version of headtohead; {TRAIN_AGAIN}")
    if not isinstance(sha256, str) or sha256 != own_sha256(values):
        raise InputError(f"{path} was changed or damaged after it was written; {TRAIN_AGAIN}")
    if version == FIRST_READABLE and "position" in values:
        values["readout"] = values.pop("position")
    info = build(ClassifierInfo, values, str(path), TRAIN_AGAIN)
    _check_info(info, path)
    return info


def _check_info(info: ClassifierInfo, path: Path) -> None:
    """What the types of the values do not say; a description that somebody made up is not believed, either."""
    longest = build(GPTConfig, info.model_config, f"{path}, model_config", TRAIN_AGAIN).context_length
    if not 1 <= info.max_length <= longest:
        raise InputError(
            f"{path}: max_length is {info.max_length}, but must be from 1 to {longest}; {TRAIN_AGAIN}"
        )
    if not 0 <= info.seed < LARGEST_SEED:
        raise InputError(
            f"{path}: seed is {shown(info.seed)}, but must be from 0 to {LARGEST_SEED}; {TRAIN_AGAIN}"
        )
    if len(info.label_names) < 2 or len(set(info.label_names)) < len(info.label_names):
        raise InputError(
            f"{path}: label_names is {shown(info.label_names)}, but must be two or more different names; "
            f"{TRAIN_AGAIN}"
        )
    Readout(info.readout)
    if info.outputs not in (None, 1) or (info.outputs == 1 and len(info.label_names) != 2):
        raise InputError(
            f"{path}: outputs is {shown(info.outputs)} for {len(info.label_names)} classes, but must be null, or 1 for "
            f"two classes; {TRAIN_AGAIN}"
        )


def _base_model(info: ClassifierInfo, weights_dir: Path | None) -> Pretrained:
    folder = weights_dir or (Path(info.weights_dir) if info.weights_dir else None)
    # A checkpoint of another shape is known by its folder.
    known = info.model in CONFIGS or folder is None or info.model.startswith(RANDOM_PREFIX)
    found = find_pretrained(info.model if known else None, folder)
    pretrained = replace(found, config=replace(found.config, causal=info.causal))
    if (pretrained.sha256, pretrained.config) != (info.model_sha256, GPTConfig(**info.model_config)):
        raise InputError(
            f"this classifier was trained on {info.model} weights with hash {info.model_sha256[:12]}, but those found "
            f"have {pretrained.sha256[:12]} or another shape; give the folder of the right ones with --weights-dir"
        )
    return pretrained


def _strategy(info: ClassifierInfo, plugin: Path | None, path: Path) -> Strategy:
    """The configured strategy; its hyperparameters are checked as those of a command line are."""
    strategy_class = _strategy_class(info, plugin)
    try:
        return build(strategy_class, info.hyperparameters, f"{path}, hyperparameters", TRAIN_AGAIN)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}, hyperparameters: {error}; {TRAIN_AGAIN}") from error


def _strategy_class(info: ClassifierInfo, plugin: Path | None) -> type[Strategy]:
    if info.plugin is None:
        name = f"headtohead.strategies.{info.strategy}"
        if not info.strategy.isidentifier() or importlib.util.find_spec(name) is None:
            raise InputError(f"this headtohead has no strategy {shown(info.strategy)}; {TRAIN_AGAIN}")
        return _trainable(load_module(name))
    path = plugin or Path(info.plugin)
    if not path.is_file():
        raise InputError(f"the strategy file {path} of this classifier is gone; give it with --plugin FILE")
    if sha256_of(path) != info.plugin_sha256:
        raise InputError(
            f"the strategy file {path} was changed since this classifier was trained; restore it"
        )
    return _trainable(load_plugin(path))


def _trainable(found: type[Method]) -> type[Strategy]:
    if not issubclass(found, Strategy):
        raise InputError(f"{found.__name__} is a baseline, and baselines leave no classifier; {TRAIN_AGAIN}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command ``headtohead classify`` (classify.py)."""
    from headtohead.core.classify import main as command

    return command(arguments)


if __name__ == "__main__":
    sys.exit(main())
