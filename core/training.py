"""The one training loop: the book's protocol for any strategy, and the evaluation it uses.

Source: "Build a Large Language Model (From Scratch)", chapter 6 (train_classifier_simple, evaluate_model,
calc_accuracy_loader). :func:`protocol` draws row numbers from real DataLoaders in the book's order, so that
torch's global generator is consumed exactly as the book consumes it; :func:`train` follows it and never knows
how the logits of those rows are computed.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from headtohead.core.data import Dataset
from headtohead.core.errors import InputError, TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.readout import Readout, ReadoutName
from headtohead.core.strategy import Strategy

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
Loaders = dict[SplitName, DataLoader[int]]


# The settings that the first records hold.
_FIRST_SETTINGS = ("epochs", "batch_size", "evaluate_every", "evaluate_batches", "position")


@dataclass(frozen=True)
class TrainConfig:
    """The protocol's settings; the defaults are the book's."""

    epochs: int = 5
    batch_size: int = 8
    evaluate_every: int = 50  # steps
    evaluate_batches: int = 5  # of train and of validation, per evaluation
    position: ReadoutName = "last"  # the readout's name
    causal: bool = True
    outputs: int | None = None  # of the head: 1, or None for one per class
    class_weights: bool = False  # the training loss weighs classes by how rare they are
    accumulation_steps: int = 1  # batches whose mean gradient makes one update of the parameters

    def __post_init__(self) -> None:
        counts = ("epochs", "batch_size", "evaluate_every", "evaluate_batches", "accumulation_steps")
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name)}: must be 1 or more")

    @property
    def readout(self) -> Readout:
        """What the class is read from."""
        return Readout(self.position, self.causal)

    def as_dict(self) -> dict[str, Any]:
        """For records and identities; a setting that is younger than they are is left out at its default."""
        return {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default or field.name in _FIRST_SETTINGS
        }


@dataclass(frozen=True)
class Moment:
    """A point in a run: the step just taken (0, 1, ...), epochs and examples seen after it."""

    step: int
    epoch: float
    examples_seen: int


@dataclass(frozen=True)
class Step:
    """Train on these rows of the training split: a batch, or several whose gradients are accumulated."""

    rows: Tensor  # (B,)
    moment: Moment
    update: bool = True  # the parameters move now, by the gradients that were accumulated


@dataclass(frozen=True)
class Measure:
    """Measure the loss or the accuracy on these batches of rows of train and of validation."""

    quantity: Literal["loss", "accuracy"]
    train: list[Tensor]
    validation: list[Tensor]
    moment: Moment


@dataclass(frozen=True)
class Finish:
    """The end: the batches of rows of each split for the final accuracies (train without its partial batch).

    A run that is not to be tested has none of test.
    """

    batches: dict[SplitName, list[Tensor]]


Event = Step | Measure | Finish


@dataclass(frozen=True)
class HistoryRow:
    """One measurement during training; None where that quantity was not measured."""

    step: int
    epoch: float
    examples_seen: int
    train_loss: float | None = None
    validation_loss: float | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None


@dataclass
class History:
    """What training measured, in order."""

    rows: list[HistoryRow] = field(default_factory=list)
    steps: int = 0
    updates: int = 0  # of the parameters; fewer than steps where gradients are accumulated
    examples_seen: int = 0
    final_batches: dict[SplitName, list[Tensor]] = field(default_factory=dict)


class Forward(Protocol):
    """How the class logits of rows of a split are computed; the loop needs to know no more."""

    evaluation_rows: int | None  # rows per call while evaluating; None: as the loaders batch them

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C), with a graph where gradients are enabled."""

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> labels (B,), on the device of the logits."""

    def parameters_changed(self) -> None:
        """Called after every optimizer step, so that what was derived from the parameters is dropped."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: passed to the caller's ``on_progress`` after every step, of training or of what precedes it."""

    step: int
    total_steps: int
    loss: float | None  # the latest that was read; None before the first
    phase: str = "training"
    preparing: bool = False  # not training yet: what is computed once for this run and later ones


@dataclass(frozen=True)
class Evaluation:
    """Means over some rows: ``loss`` is the mean of the batches' means, as in the book."""

    loss: float
    accuracy: float
    logits: Tensor  # (N, C), on the CPU
    labels: Tensor  # (N,), on the CPU


def row_loaders(
    dataset: Dataset,
    batch_size: int,
    train_rows: Sequence[int] | None = None,
    splits: Sequence[SplitName] = SPLITS,
) -> Loaders:
    """The book's three loaders over row numbers: train shuffled without its last partial batch.

    Args:
        train_rows: the rows of train that may be drawn; None for all.
        splits: of which there shall be loaders.

    Raises:
        InputError: there are fewer training rows than one batch has.
    """
    rows: dict[SplitName, Sequence[int]] = {name: range(len(getattr(dataset, name))) for name in splits}
    if train_rows is not None:
        rows["train"] = train_rows
    found = len(rows["train"])
    if batch_size > found:
        raise InputError(
            f"--batch-size {batch_size}: the training split has {found} rows; use at most {found}"
        )
    return {
        name: DataLoader(
            _RowNumbers(rows[name]),
            batch_size=batch_size,
            shuffle=name == "train",
            drop_last=name == "train",
            collate_fn=torch.tensor,
        )
        for name in splits
    }


class _RowNumbers(TorchDataset[int]):
    """Row numbers of a split as a data set, so that a DataLoader draws them."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return self.rows[index]

    def __getitems__(self, indices: list[int]) -> list[int]:
        return [self.rows[index] for index in indices]


def batches_of(loader: Iterable[Tensor], limit: int | None = None) -> list[Tensor]:
    """The row numbers of a loader's first ``limit`` batches (all by default); draws as iterating it does."""
    return list(islice(loader, limit))


def protocol(loaders: Loaders, config: TrainConfig) -> Iterator[Event]:
    """What the book's loop does, in its order, drawing from torch's generator when it does.

    Lazily: whatever else draws from the generator during a step (dropout, for example) comes at its place.
    """
    steps_per_epoch = len(loaders["train"])
    moment = Moment(-1, 0.0, 0)
    for epoch in range(config.epochs):
        for number, rows in enumerate(loaders["train"], start=1):
            step = moment.step + 1
            moment = Moment(step, (step + 1) / steps_per_epoch, moment.examples_seen + len(rows))
            full = number % config.accumulation_steps == 0
            yield Step(rows, moment, update=full or number == steps_per_epoch)
            if step % config.evaluate_every == 0:
                yield _measure("loss", loaders, config, moment)
        moment = Moment(moment.step, float(epoch + 1), moment.examples_seen)
        yield _measure("accuracy", loaders, config, moment)
    yield Finish({name: batches_of(loader) for name, loader in loaders.items()})


def _measure(
    quantity: Literal["loss", "accuracy"], loaders: Loaders, config: TrainConfig, moment: Moment
) -> Measure:
    train = batches_of(loaders["train"], config.evaluate_batches)
    return Measure(quantity, train, batches_of(loaders["validation"], config.evaluate_batches), moment)


def evaluate(forward: Forward, split: SplitName, batches: Sequence[Tensor]) -> Evaluation:
    """Loss and accuracy over batches of rows.

    The logits may be computed in larger batches; the loss stays the mean of the given batches' means.
    """
    rows = torch.cat(list(batches))
    with torch.no_grad():
        chunks = batches if forward.evaluation_rows is None else rows.split(forward.evaluation_rows)
        logits = torch.cat([forward.logits(split, chunk) for chunk in chunks]).float()
        labels = forward.labels(split, rows)
        losses = F.cross_entropy(logits, labels, reduction="none")
        means = torch.stack([part.mean() for part in losses.split([len(batch) for batch in batches])])
        correct = int((logits.argmax(dim=-1) == labels).sum())
    return Evaluation(float(means.double().mean()), correct / len(rows), logits.cpu(), labels.cpu())


def measure(forward: Forward, event: Measure) -> HistoryRow:
    """Do one measurement of the protocol; the model must be in evaluation mode."""
    values = {
        f"train_{event.quantity}": getattr(evaluate(forward, "train", event.train), event.quantity),
        f"validation_{event.quantity}": getattr(
            evaluate(forward, "validation", event.validation), event.quantity
        ),
    }
    return HistoryRow(event.moment.step, event.moment.epoch, event.moment.examples_seen, **values)


def check_finite(loss: float, step: int) -> None:
    """TrainingError, with the step, where a loss is not finite."""
    if not math.isfinite(loss):
        raise TrainingError(
            f"the training loss became {loss} at step {step}; a smaller learning rate may help "
            "(--set NAME.learning_rate=...)"
        )


class LossWatch:
    """Collects the losses of steps and stops the run at the first that is not finite.

    On an accelerator, reading a loss waits for the device, so losses are read in groups of ``every`` steps.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.latest: float | None = None
        self._pending: list[tuple[int, Tensor]] = []

    def add(self, step: int, loss: Tensor) -> None:
        """Remember the loss of a step; read what is pending every ``every`` steps."""
        self._pending.append((step, loss.detach()))
        if len(self._pending) >= self.every:
            self.check()

    def check(self) -> None:
        """Read the pending losses; TrainingError at the first that is not finite."""
        if not self._pending:
            return
        losses = torch.stack([loss for _, loss in self._pending]).tolist()
        for (step, _), loss in zip(self._pending, losses, strict=True):
            check_finite(loss, step)
        self.latest = losses[-1]
        self._pending.clear()


def train(
    model: GPTModel,
    strategy: Strategy,
    forward: Forward,
    optimizer: torch.optim.Optimizer,
    events: Iterable[Event],
    total_steps: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    class_weights: Tensor | None = None,
    accumulation_steps: int = 1,
) -> History:
    """Train in place by the events of :func:`protocol` and return what was measured.

    Args:
        class_weights: (C,) of the training loss; None where all classes count alike.
        accumulation_steps: what each batch's loss is divided by, as in the book's bonus script.

    Raises:
        TrainingError: the loss of a step is not finite; the message names the step.
    """
    history = History()
    watch = LossWatch(every=1 if next(model.parameters()).device.type == "cpu" else 50)
    begins = True  # a new accumulation of gradients
    model.train()
    for event in events:
        if isinstance(event, Finish):
            history.final_batches = event.batches
            continue
        if isinstance(event, Measure):
            watch.check()
            model.eval()
            history.rows.append(measure(forward, event))
            model.train()
            continue
        if begins:
            optimizer.zero_grad()
        loss = training_loss(model, strategy, forward, event.rows, class_weights)
        (loss / accumulation_steps if accumulation_steps > 1 else loss).backward()
        watch.add(event.moment.step, loss)
        begins = event.update
        if event.update:
            optimizer.step()
            strategy.after_step(model, history.updates)
            history.updates += 1
        forward.parameters_changed()  # or the graph that was walked back, where they did not
        history.steps, history.examples_seen = event.moment.step + 1, event.moment.examples_seen
        on_progress(Progress(history.steps, total_steps, watch.latest))
    model.eval()
    return history


def training_loss(
    model: GPTModel, strategy: Strategy, forward: Forward, rows: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """The loss of a batch of training rows (B,): cross-entropy and whatever the strategy adds."""
    logits = forward.logits("train", rows).float()
    return loss_of(logits, forward.labels("train", rows), strategy.extra_loss(model), class_weights)


def loss_of(
    logits: Tensor, labels: Tensor, extra: Tensor | None, class_weights: Tensor | None = None
) -> Tensor:
    """Cross-entropy of class logits (B, C), a weighted mean where classes have weights, and an extra term."""
    loss = F.cross_entropy(logits, labels, class_weights)
    return loss if extra is None else loss + extra


def balanced_weights(labels: Tensor, n_classes: int) -> Tensor:
    """Weights (C,) under which every class counts alike in a sum over ``labels`` (N,); their mean over rows is 1."""
    counts = torch.bincount(labels, minlength=n_classes)
    return len(labels) / (n_classes * counts.clamp(min=1).float())
