"""A run's history as the chapter prints it: ``Ep 1 (Step 000050): Train loss 0.638, Val loss 0.643``.

Written beside every run's record as ``log.txt``; ``--log book`` shows it in the terminal, too.
Source: "Build a Large Language Model (From Scratch)", chapter 6, train_classifier_simple and what follows it.
"""

from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headtohead.experiments.record import RunRecord, load_history

if TYPE_CHECKING:
    import pandas as pd

LOG_FILE = "log.txt"
SPLITS = (("train", "Training"), ("validation", "Validation"), ("test", "Test"))


def book_log(record: RunRecord, history: "pd.DataFrame | None") -> str:
    """The chapter's lines: accuracies before, losses and accuracies as they were measured, accuracies at the end."""
    return "\n".join(_lines(record, history)) + "\n"


def _lines(record: RunRecord, history: "pd.DataFrame | None") -> Iterator[str]:
    yield f"{record.label}, seed {record.seed}"
    yield from _accuracies(record, "before_")
    if history is not None:
        yield from _measurements(history)
    if record.train_seconds is not None:
        yield f"Training completed in {record.train_seconds / 60:.2f} minutes."
    yield from _accuracies(record, "")


def _accuracies(record: RunRecord, before: str) -> Iterator[str]:
    for name, word in SPLITS:
        value = getattr(record, f"{before}{name}_accuracy")
        if value is not None:
            yield f"{word} accuracy: {100 * value:.2f}%"


def _measurements(history: "pd.DataFrame") -> Iterator[str]:
    row: Any  # pandas names its fields at run time
    for row in history.itertuples():
        if row.train_loss == row.train_loss:  # measured
            epoch = ceil(row.epoch)  # 0.39 epochs are done in the first
            losses = f"Train loss {row.train_loss:.3f}, Val loss {row.validation_loss:.3f}"
            yield f"Ep {epoch} (Step {int(row.step):06d}): {losses}"
        if row.train_accuracy == row.train_accuracy:
            train, validation = 100 * row.train_accuracy, 100 * row.validation_accuracy
            yield f"Training accuracy: {train:.2f}% | Validation accuracy: {validation:.2f}%"


def log_of(directory: Path, record: RunRecord) -> str:
    """The log of a run that lies in ``directory``."""
    return book_log(record, load_history(directory))
