"""What a classifier's answers on the test split are worth, beyond their accuracy."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DECIMALS = (
    8  # of a recorded probability: coarser ones would tie messages that a trained classifier still ranks
)
BINS = 10  # of the reliability curve, equally wide


def prediction_metrics(labels: Sequence[int], predictions: Sequence[int], n_classes: int) -> dict[str, Any]:
    """Precision, recall and F1 as fractions, the confusion matrix and the predictions, named as in a record.

    With two classes these are those of class 1 (spam); a precision that is undefined, because class 1 was never
    predicted, is None. With more classes they are the unweighted means (macro) over the classes that occur among
    labels or predictions; there one that was never predicted counts as 0, or ignoring a class would raise the mean.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    classes = list(range(n_classes))
    each = precision_recall_fscore_support(labels, predictions, labels=classes, zero_division=math.nan)
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
        "test_confusion": confusion_matrix(labels, predictions, labels=classes).tolist(),
        "test_class_precision": [_known(value) for value in each[0]],
        "test_class_recall": [_known(value) for value in each[1]],
        "test_class_f1": [_known(value) for value in each[2]],
        "test_macro_f1": macro_f1(labels, predictions),
        "test_predictions": [int(prediction) for prediction in predictions],
    }


def macro_f1(labels: Sequence[int], predictions: Sequence[int]) -> float:
    """The unweighted mean of F1 over the classes that occur, of one that was never predicted 0."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, average="macro", zero_division=0.0))


def probability_metrics(labels: Sequence[int], probabilities: "np.ndarray") -> dict[str, Any]:
    """What the class probabilities (N, C) of the test messages are worth, named as in a record.

    - ROC AUC and average precision: of class 1 with two classes, otherwise the unweighted mean over the classes, each
      against all others; None where a class does not occur.
    - Brier: half the squared distance of the probabilities to the truth, summed over the classes (Brier 1950, Monthly
      Weather Review 78; halved, so that with two classes it is that of class 1).
    - Calibration error: of the probability of the named class (:func:`reliability`).
    """
    import numpy as np
    from sklearn.metrics import average_precision_score, roc_auc_score

    truth = np.eye(probabilities.shape[1])[np.asarray(labels)]  # (N, C)
    binary = probabilities.shape[1] == 2
    scores, targets = (probabilities[:, 1], truth[:, 1]) if binary else (probabilities, truth)
    ranked = bool((truth.any(axis=0) & ~truth.all(axis=0)).all())
    return {
        "test_roc_auc": float(roc_auc_score(targets, scores)) if ranked else None,
        "test_average_precision": float(average_precision_score(targets, scores)) if ranked else None,
        "test_brier": float(((probabilities - truth) ** 2).sum(axis=1).mean() / 2),
        "test_calibration_error": calibration_error(labels, probabilities),
    }


def recorded(probabilities: "np.ndarray") -> list[list[float]]:
    """Class probabilities (N, C) as a record keeps them."""
    return [[round(float(value), DECIMALS) for value in row] for row in probabilities]


def reliability(
    labels: Sequence[int], probabilities: "np.ndarray"
) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """The reliability curve of the named class: per bin its mean probability, how often it was right, its messages.

    Bins of equal width over the probability of the class that a message was given; those without a message are left
    out, so each array is (B,) with B <= BINS.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    import numpy as np

    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == np.asarray(labels)
    place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
    counts = np.bincount(place, minlength=BINS)
    sums = [np.bincount(place, values, minlength=BINS) for values in (confidence, right)]
    known = counts > 0
    return sums[0][known] / counts[known], sums[1][known] / counts[known], counts[known]


def calibration_error(labels: Sequence[int], probabilities: "np.ndarray") -> float:
    """The mean distance of the reliability curve from the diagonal, weighted by the messages of each bin."""
    said, right, counts = reliability(labels, probabilities)
    return float(abs(said - right) @ counts / counts.sum())


def metrics_of(label_names: Sequence[str]) -> str:
    """Whose precision, recall and F1 a record holds: "of spam", or "macro, over 3 classes"."""
    return f"of {label_names[1]}" if len(label_names) == 2 else f"macro, over {len(label_names)} classes"


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
