"""The one training loop: the book's protocol for any strategy, and the evaluation it uses.

Source: "Build a Large Language Model (From Scratch)", chapter 6 (train_classifier_simple, evaluate_model,
calc_accuracy_loader). The loop draws row numbers from real DataLoaders in the book's order, so that torch's
global generator is consumed exactly as the book consumes it, however the logits of those rows are computed.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from core.data import Dataset
from core.errors import InputError, TrainingError
from core.model import GPTModel
from core.strategy import Strategy

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class TrainConfig:
    """The protocol's settings; the defaults are the book's."""

    epochs: int = 5
    batch_size: int = 8
    evaluate_every: int = 50  # steps
    evaluate_batches: int = 5  # of train and of validation, per evaluation
    position: Literal["last", "last_real"] = "last"

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "evaluate_every", "evaluate_batches"):
            if getattr(self, name) < 1:
                flag = f"--{name.replace('_', '-')}"
                raise InputError(f"{flag} {getattr(self, name)}: must be 1 or more")


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
    examples_seen: int = 0


class Forward(Protocol):
    """How the class logits of rows of a split are computed; the loop needs to know no more."""

    evaluation_rows: int | None  # rows per call while evaluating; None: as the loaders batch them

    def logits(self, split: Split, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C), with a graph where gradients are enabled."""

    def labels(self, split: Split, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> labels (B,), on the device of the logits."""

    def parameters_changed(self) -> None:
        """Called after every optimizer step, so that derived weights are not used any longer."""


@dataclass(frozen=True)
class Progress:
    """Where a run is: passed to the caller's ``on_progress`` after every step."""

    step: int
    total_steps: int
    loss: float | None  # of the latest measured batch; None before the first


def row_loaders(dataset: Dataset, batch_size: int) -> dict[Split, DataLoader[tuple[Tensor, ...]]]:
    """The book's three loaders over row numbers: train shuffled without its last partial batch.

    Raises:
        InputError: the training split is smaller than one batch.
    """
    rows = len(dataset.train)
    if batch_size > rows:
        raise InputError(f"--batch-size {batch_size}: the training split has only {rows} rows; use at most {rows}")
    return {
        name: DataLoader(
            TensorDataset(torch.arange(len(getattr(dataset, name)))),
            batch_size=batch_size,
            shuffle=name == "train",
            drop_last=name == "train",
        )
        for name in SPLITS
    }


@dataclass(frozen=True)
class Evaluation:
    """Means over some rows: ``loss`` is the mean of the batches' means, as in the book."""

    loss: float
    accuracy: float
    logits: Tensor  # (N, C), on the CPU
    labels: Tensor  # (N,), on the CPU


def evaluate(
    forward: Forward, split: Split, loader: Iterable[tuple[Tensor, ...]], batches: int | None = None
) -> Evaluation:
    """Loss and accuracy over the first ``batches`` batches of a loader (all of them by default).

    Iterating the loader draws from torch's generator as the book's evaluation does. The logits may be computed
    in larger batches than the loader's; the loss stays the mean of the loader's batch means.
    """
    row_batches = [rows for (rows,) in islice(loader, batches)]
    rows = torch.cat(row_batches)
    with torch.inference_mode():
        chunks = row_batches if forward.evaluation_rows is None else rows.split(forward.evaluation_rows)
        logits = torch.cat([forward.logits(split, chunk) for chunk in chunks]).float()
        labels = forward.labels(split, rows)
        losses = F.cross_entropy(logits, labels, reduction="none")
        batch_means = torch.stack([part.mean() for part in losses.split([len(batch) for batch in row_batches])])
        correct = (logits.argmax(dim=-1) == labels).float().mean()
    return Evaluation(float(batch_means.double().mean()), float(correct.double()), logits.cpu(), labels.cpu())


class _LossWatch:
    """Collects the losses of steps and stops the run at the first that is not finite.

    On an accelerator, reading a loss waits for the device, so losses are read in groups of ``every`` steps.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self.pending: list[tuple[int, Tensor]] = []
        self.latest: float | None = None

    def add(self, step: int, loss: Tensor) -> None:
        self.pending.append((step, loss.detach()))
        if len(self.pending) >= self.every:
            self.check()

    def check(self) -> None:
        if not self.pending:
            return
        steps, losses = zip(*self.pending, strict=True)
        for step, loss in zip(steps, torch.stack(losses).tolist(), strict=True):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the training loss became {loss} at step {step}; a smaller learning rate may help "
                    "(--set NAME.learning_rate=...)"
                )
            self.latest = loss
        self.pending.clear()


def train(
    model: GPTModel,
    strategy: Strategy,
    forward: Forward,
    optimizer: torch.optim.Optimizer,
    loaders: dict[Split, DataLoader[tuple[Tensor, ...]]],
    config: TrainConfig,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> History:
    """Train in place by the book's protocol and return what was measured.

    Raises:
        TrainingError: the loss of a step is not finite; the message names the step.
    """
    history = History()
    watch = _LossWatch(every=1 if next(model.parameters()).device.type == "cpu" else 50)
    steps_per_epoch = len(loaders["train"])
    total = config.epochs * steps_per_epoch
    strategy.before_training(model, config.epochs, steps_per_epoch)
    for epoch in range(config.epochs):
        model.train()
        for rows in _rows_of(loaders["train"]):
            step = history.steps
            optimizer.zero_grad()
            loss = _loss(model, strategy, forward, rows)
            loss.backward()  # type: ignore[no-untyped-call]
            watch.add(step, loss)
            optimizer.step()
            strategy.after_step(model, step)
            forward.parameters_changed()
            history.steps += 1
            history.examples_seen += len(rows)
            if step % config.evaluate_every == 0:
                watch.check()
                history.rows.append(_measure_losses(model, forward, loaders, config, history, steps_per_epoch))
            on_progress(Progress(history.steps, total, watch.latest))
        watch.check()
        history.rows.append(_measure_accuracies(model, forward, loaders, config, history, epoch + 1))
    return history


def _rows_of(loader: DataLoader[tuple[Tensor, ...]]) -> Iterator[Tensor]:
    for (rows,) in loader:
        yield rows


def _loss(model: GPTModel, strategy: Strategy, forward: Forward, rows: Tensor) -> Tensor:
    loss = F.cross_entropy(forward.logits("train", rows).float(), forward.labels("train", rows))
    extra = strategy.extra_loss(model)
    return loss if extra is None else loss + extra


def _measure_losses(
    model: GPTModel,
    forward: Forward,
    loaders: dict[Split, DataLoader[tuple[Tensor, ...]]],
    config: TrainConfig,
    history: History,
    steps_per_epoch: int,
) -> HistoryRow:
    model.eval()
    train_loss = evaluate(forward, "train", loaders["train"], config.evaluate_batches).loss
    validation_loss = evaluate(forward, "validation", loaders["validation"], config.evaluate_batches).loss
    model.train()
    return HistoryRow(
        step=history.steps - 1,
        epoch=history.steps / steps_per_epoch,
        examples_seen=history.examples_seen,
        train_loss=train_loss,
        validation_loss=validation_loss,
    )


def _measure_accuracies(
    model: GPTModel,
    forward: Forward,
    loaders: dict[Split, DataLoader[tuple[Tensor, ...]]],
    config: TrainConfig,
    history: History,
    epoch: int,
) -> HistoryRow:
    model.eval()
    train_accuracy = evaluate(forward, "train", loaders["train"], config.evaluate_batches).accuracy
    validation_accuracy = evaluate(forward, "validation", loaders["validation"], config.evaluate_batches).accuracy
    return HistoryRow(
        step=history.steps - 1,
        epoch=float(epoch),
        examples_seen=history.examples_seen,
        train_accuracy=train_accuracy,
        validation_accuracy=validation_accuracy,
    )
