"""What a classifier's predictions on the test split are worth, beyond their accuracy."""

import math
from collections.abc import Sequence
from typing import Any


def prediction_metrics(labels: Sequence[int], predictions: Sequence[int], n_classes: int) -> dict[str, Any]:
    """Precision, recall and F1 as fractions, the confusion matrix and the predictions, named as in a record.

    With two classes these are those of class 1 (spam); with more, the unweighted means over the classes
    (macro). A value that is undefined, such as the precision of a class that was never predicted, is None.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    average = "binary" if n_classes == 2 else "macro"
    classes = list(range(n_classes))
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels,
        predictions,
        average=average,
        labels=None if n_classes == 2 else classes,
        zero_division=math.nan,
    )
    return {
        "test_precision": _known(precision),
        "test_recall": _known(recall),
        "test_f1": _known(f1),
        "test_confusion": confusion_matrix(labels, predictions, labels=classes).tolist(),
        "test_predictions": [int(prediction) for prediction in predictions],
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
