"""The contract of a finetuning strategy: what is trained, and nothing about how it is computed.

A strategy is one file with one frozen dataclass. Its fields are its hyperparameters; its docstring is the text
of the report: first line what is trained, then the parameter count in closed form, then where it comes from.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Decay, LearningRate, check_values
from headtohead.core.model import GPTModel
from headtohead.core.search import Around, Search

# A block's number from 0, or one of "tok_emb", "pos_emb", "final_norm" and "out_head" -> trained numbers.
Counts = dict[int | str, int]


@dataclass(frozen=True)
class LowRank:
    """A declaration that an inserted layer computes exactly ``y = x (W + scale up down)^T + bias``.

    Attributes:
        base: the pretrained layer with W (E, D), frozen, and the bias (E,) or None.
        down: (r, D), trained.
        up: (E, r), trained.
        scale: a constant.
    """

    base: nn.Linear
    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, kw_only=True)
class Strategy(ABC):
    """What to train of a pretrained GPT-2. Subclasses implement :meth:`apply`; the rest is optional.

    The order is always: a new head, everything frozen, :meth:`apply`, the head unfrozen (libraries that
    insert adapters freeze whatever they do not own, so the head comes last).
    A strategy is frozen and serves several runs: what it keeps of one from a method to the next goes into the
    run's ``model.strategy_state``.
    """

    learning_rate: LearningRate = 5e-5
    weight_decay: Decay = 0.1

    family: ClassVar[str] = "other"
    trains_head: ClassVar[bool] = True
    # Whether the model still computes the pretrained model's logits right after apply.
    starts_at_pretrained: ClassVar[bool] = True
    # Whether gradients are those of the loss: not where the method takes something that trains for a constant.
    exact_gradients: ClassVar[bool] = True
    # Whether merge() is implemented.
    merges: ClassVar[bool] = False
    # What --tune searches, and where; the first field gets the finest grid.
    search: ClassVar[Search] = {"learning_rate": Around()}

    def __post_init__(self) -> None:
        """Hold the fields to their declarations (core/fields.py); an override calls this one."""
        check_values(self)

    def check(self, config: GPTConfig) -> None:
        """Raise InputError where these fields cannot be used on a model of that shape; an override calls this one."""
        check_values(self, config)

    @abstractmethod
    def apply(self, model: GPTModel) -> None:
        """Edit ``model`` in place: unfreeze parameters, or insert modules. Everything is frozen on entry."""

    def counts(self, config: GPTConfig, n_classes: int) -> Counts | None:
        """How many numbers train in which part of a model, in closed form; None where that is not stated.

        The head's are added where ``trains_head``.
        """
        return None

    def learning_rate_of(self, name: str, config: GPTConfig) -> float:
        """The learning rate of the trained parameter ``name``, for methods with several."""
        return self.learning_rate

    def weight_decay_of(self, name: str) -> float:
        """Its weight decay."""
        return self.weight_decay

    def draws_in_training(self) -> bool:
        """Whether a training step draws random numbers, as dropout does; an override where that is no field's doing."""
        return any(value for name, value in vars(self).items() if "dropout" in name)

    def param_groups(self, model: GPTModel) -> list[dict[str, Any]]:
        """Optimizer groups: trained parameters of one learning rate and one weight decay together."""
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                key = self.learning_rate_of(name, model.config), self.weight_decay_of(name)
                groups.setdefault(key, []).append(parameter)
        return [{"params": own, "lr": rate, "weight_decay": decay} for (rate, decay), own in groups.items()]

    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:  # noqa: B027
        """Called once before the first step, for methods with a schedule."""

    def extra_loss(self, model: GPTModel) -> Tensor | None:
        """A scalar to add to the cross-entropy of a training batch, for example a regulariser."""
        return None

    def after_step(self, model: GPTModel, step: int) -> None:  # noqa: B027
        """Called after optimizer step ``step`` (0, 1, ...), for methods that change what trains."""

    def low_rank(self, model: GPTModel) -> dict[nn.Module, LowRank]:
        """Inserted layers of which :class:`LowRank` is true; nothing need be declared."""
        return {}

    def merge(self, model: GPTModel) -> None:
        """Fold what :meth:`apply` inserted into the weights, in place: a plain GPTModel, the same logits."""
        raise InputError(f"{type(self).__name__} cannot be merged into a plain GPTModel; keep its adapters")

    def all_counts(self, config: GPTConfig, n_classes: int) -> Counts | None:
        """:meth:`counts` with the head's."""
        counts = self.counts(config, n_classes)
        head: Counts = {"out_head": n_classes * (config.emb_dim + 1)} if self.trains_head else {}
        return None if counts is None else {**counts, **head}

    def parameter_count(self, config: GPTConfig, n_classes: int = 2) -> int | None:
        """How many numbers train in a model of that shape, in closed form; None where that is not stated."""
        counts = self.all_counts(config, n_classes)
        return None if counts is None else sum(counts.values())

    @classmethod
    def describe(cls) -> str:
        """The first line of the docstring: what is trained, in one sentence."""
        return (inspect.getdoc(cls) or cls.__name__).splitlines()[0]


# The optional methods as they are when nobody overrides them.
OPTIONAL = {
    name: getattr(Strategy, name)
    for name in (
        "learning_rate_of",
        "weight_decay_of",
        "param_groups",
        "before_training",
        "extra_loss",
        "after_step",
        "low_rank",
    )
}


@dataclass(frozen=True)
class Prediction:
    """What a baseline says of some messages.

    Attributes:
        logits: (M, C) log-probabilities or other scores whose softmax are the class probabilities.
        parameters: how many numbers were fitted.
        selection_seconds: what choosing settings took before the final fit; None where nothing was chosen.
    """

    logits: Tensor
    parameters: int
    selection_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Baseline(ABC):
    """A row of the comparison that does not train the GPT: fitted in one go, on texts or on frozen features."""

    family: ClassVar[str] = "baselines"
    reads: ClassVar[Literal["texts", "features"]] = "texts"

    @abstractmethod
    def fit_predict(self, train: Any, labels: Tensor, others: Any, n_classes: int, seed: int) -> Prediction:
        """Fit on the training split and score other messages.

        Args:
            train: N texts (list of str), or features (N, D) where ``reads`` is "features": the pretrained model's
                hidden states behind the final norm, at the position at which a classifier reads.
            labels: (N,) classes of ``train``.
            others: M texts, or features (M, D), to be scored; those of train may be among them.
            n_classes: C.
            seed: for whatever is random.
        """

    @classmethod
    def describe(cls) -> str:
        """The first line of the docstring: what is fitted, in one sentence."""
        return (inspect.getdoc(cls) or cls.__name__).splitlines()[0]


Method = Strategy | Baseline


@dataclass(frozen=True)
class Variant:
    """One configured strategy and where it comes from: enough to build it again in another process."""

    name: str
    label: str
    strategy: Method
    plugin: Path | None = None


def part_of(name: str) -> int | str:
    """The part of a model, as in :data:`Counts`, to which the parameter ``name`` belongs."""
    first, *rest = name.split(".")
    return int(rest[0]) if first == "trf_blocks" else first


def freeze(*modules: nn.Module) -> None:
    """Stop training every parameter of the given modules."""
    for module in modules:
        module.requires_grad_(False)


def unfreeze(*modules: nn.Module) -> None:
    """Train every parameter of the given modules."""
    for module in modules:
        module.requires_grad_(True)


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer would move, each once, in the order of ``model.parameters()``."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def count_parameters(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers the parameters hold together."""
    return sum(parameter.numel() for parameter in parameters)
