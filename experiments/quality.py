"""What records say of a strategy beyond its accuracy: at a false-positive rate, calibrated, message by message."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headtohead.experiments.metrics import reliability
from headtohead.experiments.record import RunRecord
from headtohead.experiments.statistics import Spread, StrategySummary, Summary

Array = np.ndarray


@dataclass(frozen=True)
class Operating:
    """What one run finds on the test messages with the thresholds that its validation messages gave.

    With more than two classes each is held against all others, and these are the means over the classes.
    """

    recall: float
    false_positive_rate: float
    accuracy: float


@dataclass(frozen=True)
class Curve:
    """A reliability curve over all runs of a strategy; each (B,): what was said, how often it was right, messages."""

    said: Array
    right: Array
    counts: Array


@dataclass(frozen=True)
class MessageAnswers:
    """How the strategies answered one test message.

    Attributes:
        right, wrong: labels of which most runs were right, or wrong; those of which half were are in neither.
        shares: share of the right runs of every strategy.
    """

    index: int  # in data/test.csv, from 0
    text: str
    true_class: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    shares: tuple[float, ...]

    @property
    def split(self) -> int:
        """How many strategies stand on the smaller side."""
        return min(len(self.right), len(self.wrong))

    @property
    def clear(self) -> float:
        """How unanimous the runs of a strategy are, on average: 1 where all agree, 0 where half do."""
        return float(np.mean(np.abs(2 * np.array(self.shares) - 1)))


def operating_points(summary: Summary, row: StrategySummary, rate: float) -> list[Operating]:
    """One for each run that kept its probabilities; the threshold is the lowest that keeps ``rate`` on validation."""
    truth, validation = summary.truth, summary.classes("validation")
    if truth is None or validation is None:
        return []
    return [
        _operating(validation, said, np.asarray(truth), test, rate)
        for run in row.runs
        if (said := probabilities(run.validation_probabilities, len(validation))) is not None
        and (test := probabilities(run.test_probabilities, len(truth))) is not None
    ]


def _operating(validation: Array, said: Array, truth: Array, test: Array, rate: float) -> Operating:
    classes = [1] if test.shape[1] == 2 else range(test.shape[1])
    points = [
        _one_class(validation == each, said[:, each], truth == each, test[:, each], rate) for each in classes
    ]
    return Operating(*np.nanmean(points, axis=0).tolist())


def _one_class(
    validation: Array, said: Array, truth: Array, test: Array, rate: float
) -> tuple[float, float, float]:
    """Recall, false-positive rate and accuracy on test of one class against all others."""
    called = test >= threshold_at(validation, said, rate)
    return _share(called[truth]), _share(called[~truth]), _share(called == truth)


def threshold_at(truth: Array, scores: Array, rate: float) -> float:
    """The lowest of the scores (N,) that no more than ``rate`` of the messages that are not ``truth`` (N,) reach.

    Infinite where already the highest score is one of theirs.
    """
    from sklearn.metrics import roc_curve

    if truth.all() or not truth.any():  # nothing can be found wrongly, or nothing at all
        return float(scores.min()) if truth.all() else float("inf")
    false_positives, _, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    return float(thresholds[np.flatnonzero(false_positives <= rate)[-1]])


def _share(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def reliability_curve(summary: Summary, row: StrategySummary) -> Curve | None:
    """The curve over the messages of all runs; None where no run kept its probabilities."""
    truth = summary.truth or ()
    found = [
        each for run in row.runs if (each := probabilities(run.test_probabilities, len(truth))) is not None
    ]
    if not found:
        return None
    return Curve(*reliability(np.tile(truth, len(found)).tolist(), np.concatenate(found)))


def probabilities(recorded: list[list[float]] | None, size: int) -> Array | None:
    """What a record keeps as an array (N, C); None where it keeps nothing, or that of other messages."""
    if not size or recorded is None or len(recorded) != size:
        return None
    return np.asarray(recorded, dtype=float)


def answers_by_message(summary: Summary) -> list[MessageAnswers]:
    """Every test message with the answers of the strategies that trained a GPT, in the order of data/test.csv."""
    texts, truth = summary.texts("test"), summary.truth
    rows = [row for row in summary.finished if not row.is_baseline]
    right = {row.label: found for row in rows if (found := _right(row.runs, truth)) is not None}
    if texts is None or truth is None or not right:
        return []
    names = summary.experiment.description["dataset"]["label_names"]
    return [_message(index, text, names[truth[index]], right) for index, text in enumerate(texts)]


def _right(runs: Sequence[RunRecord], truth: tuple[int, ...] | None) -> Array | None:
    """(N,) share of the runs that were right."""
    if truth is None:
        return None
    known = [run.test_predictions for run in runs if len(run.test_predictions or ()) == len(truth)]
    return np.mean(np.asarray(known) == np.asarray(truth), axis=0) if known else None


def _message(index: int, text: str, true_class: str, right: dict[str, Array]) -> MessageAnswers:
    shares = {label: float(share[index]) for label, share in right.items()}
    return MessageAnswers(
        index,
        text,
        true_class,
        right=tuple(label for label, share in shares.items() if share > 0.5),
        wrong=tuple(label for label, share in shares.items() if share < 0.5),
        shares=tuple(shares.values()),
    )


def mean_of(points: Sequence[Operating], name: str) -> Spread | None:
    """The spread over the runs of one figure of their operating points."""
    return Spread.of([getattr(point, name) for point in points])
