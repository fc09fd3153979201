"""The contract of a finetuning strategy: what is trained, and nothing about how it is computed.

A strategy is one file with one frozen dataclass. Its fields are its hyperparameters; its docstring is the text
of the report: first line what is trained, then the parameter count in closed form, then where it comes from.
"""

import importlib
import importlib.util
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel


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

    learning_rate: float = 5e-5
    weight_decay: float = 0.1

    family: ClassVar[str] = "other"
    trains_head: ClassVar[bool] = True
    # Whether the model still computes the pretrained model's logits right after apply.
    starts_at_pretrained: ClassVar[bool] = True
    # Whether merge() is implemented.
    merges: ClassVar[bool] = False

    @abstractmethod
    def apply(self, model: GPTModel) -> None:
        """Edit ``model`` in place: unfreeze parameters, or insert modules. Everything is frozen on entry."""

    def param_groups(self, model: GPTModel) -> list[dict[str, Any]]:
        """Optimizer groups; a group may set its own ``lr`` or ``weight_decay``."""
        return [{"params": trainable_parameters(model)}]

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

    @classmethod
    def describe(cls) -> str:
        """The first line of the docstring: what is trained, in one sentence."""
        return (inspect.getdoc(cls) or cls.__name__).splitlines()[0]


# The optional methods as they are when nobody overrides them.
OPTIONAL = {
    name: getattr(Strategy, name)
    for name in ("param_groups", "before_training", "extra_loss", "after_step", "low_rank")
}


@dataclass(frozen=True)
class Prediction:
    """What a baseline says of some messages.

    Attributes:
        logits: (M, C) log-probabilities or other scores whose softmax are the class probabilities.
        parameters: how many numbers were fitted.
    """

    logits: Tensor
    parameters: int


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


def strategy_class_of(module: ModuleType) -> type[Method]:
    """The one Strategy or Baseline class that ``module`` defines; InputError where there is none, or several."""
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Strategy | Baseline)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        names = ", ".join(value.__name__ for value in found) or "none"
        raise InputError(
            f"{module.__file__} must define exactly one subclass of core.strategy.Strategy or Baseline (found: {names})"
        )
    return found[0]


def load_module(name: str) -> type[Method]:
    """The strategy class of an importable module; an error inside the file keeps its own traceback."""
    return strategy_class_of(importlib.import_module(name))


def load_file(path: Path) -> type[Method]:
    """The strategy class of a file outside the packages (``--plugin FILE``).

    Raises:
        InputError: the file does not exist, is no Python file, or holds no strategy.
    """
    if not path.is_file() or path.suffix != ".py":
        raise InputError(f"--plugin {path}: no such Python file; give the path of a file like my_strategy.py")
    name = f"headtohead_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while the class is being made
    spec.loader.exec_module(module)
    return strategy_class_of(module)
