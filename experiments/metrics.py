"""What a classifier's predictions on the test split are worth, beyond their accuracy."""

import math
from collections.abc import Sequence
from typing import Any


def prediction_metrics(labels: Sequence[int], predictions: Sequence[int], n_classes: int) -> dict[str, Any]:
    """Precision, recall and F1 as fractions, the confusion matrix and the predictions, named as in a record.

    With two classes these are those of class 1 (spam); a precision that is undefined, because class 1 was never
    predicted, is None. With more classes they are the unweighted means (macro) over the classes that occur among
    labels or predictions; there one that was never predicted counts as 0, or ignoring a class would raise the mean.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    binary = n_classes == 2
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels,
        predictions,
        average="binary" if binary else "macro",
        zero_division=math.nan if binary else 0.0,
    )
    return {
        "test_precision": _known(precision),
        "test_recall": _known(recall),
        "test_f1": _known(f1),
        "test_confusion": confusion_matrix(labels, predictions, labels=list(range(n_classes))).tolist(),
        "test_predictions": [int(prediction) for prediction in predictions],
    }


def metrics_of(label_names: Sequence[str]) -> str:
    """Whose precision, recall and F1 a record holds: "of spam", or "macro, over 3 classes"."""
    return f"of {label_names[1]}" if len(label_names) == 2 else f"macro, over {len(label_names)} classes"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
