"""The chapter's printed lines, from a record and its history."""

import pandas as pd

from headtohead.experiments.book_log import book_log
from headtohead.experiments.record import RunRecord

NAN = float("nan")
HISTORY = pd.DataFrame(
    [
        (0, 1 / 130, 8, 2.1534, 2.3923, NAN, NAN),
        (50, 51 / 130, 408, 0.617, 0.6371, NAN, NAN),
        (129, 1.0, 1040, NAN, NAN, 0.7, 0.725),
        (150, 151 / 130, 1208, 0.5612, 0.5503, NAN, NAN),
    ],
    columns=[
        *("step", "epoch", "examples_seen", "train_loss", "validation_loss"),
        *("train_accuracy", "validation_accuracy"),
    ],
)


def test_the_lines_are_the_chapters() -> None:
    record = RunRecord(
        run_id="r", strategy="head", label="head", seed=123, status="ok", before_train_accuracy=0.4625,
        before_validation_accuracy=0.45, before_test_accuracy=0.4875, train_accuracy=0.9721,
        validation_accuracy=0.9732, test_accuracy=0.9567, train_seconds=338.4,
    )  # fmt: skip
    assert book_log(record, HISTORY).splitlines() == [
        "head, seed 123",
        "Training accuracy: 46.25%",
        "Validation accuracy: 45.00%",
        "Test accuracy: 48.75%",
        "Ep 1 (Step 000000): Train loss 2.153, Val loss 2.392",
        "Ep 1 (Step 000050): Train loss 0.617, Val loss 0.637",
        "Training accuracy: 70.00% | Validation accuracy: 72.50%",
        "Ep 2 (Step 000150): Train loss 0.561, Val loss 0.550",
        "Training completed in 5.64 minutes.",
        "Training accuracy: 97.21%",
        "Validation accuracy: 97.32%",
        "Test accuracy: 95.67%",
    ]
