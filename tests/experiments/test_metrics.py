"""Precision, recall and F1 from hand-made predictions."""

import pytest

from headtohead.experiments.metrics import metrics_of, prediction_metrics


def test_metrics_of_two_classes_are_those_of_class_1() -> None:
    metrics = prediction_metrics([1, 1, 1, 0], [1, 1, 0, 1], 2)
    assert metrics["test_precision"] == pytest.approx(2 / 3)
    assert metrics["test_recall"] == pytest.approx(2 / 3)
    assert metrics["test_confusion"] == [[0, 1], [1, 2]]


def test_a_precision_that_does_not_exist_is_null_not_zero() -> None:
    metrics = prediction_metrics([1, 0, 0], [0, 0, 0], 2)
    assert metrics["test_precision"] is None
    assert (metrics["test_recall"], metrics["test_f1"]) == (0, 0)


def test_metrics_of_more_classes_are_means_over_the_classes() -> None:
    metrics = prediction_metrics([0, 1, 2, 2], [0, 1, 2, 0], 3)
    assert metrics["test_recall"] == pytest.approx((1 + 1 + 0.5) / 3)
    assert metrics["test_precision"] == pytest.approx((0.5 + 1 + 1) / 3)


def test_a_class_that_is_never_predicted_counts_as_zero_in_the_mean() -> None:
    metrics = prediction_metrics([0, 1, 2, 2], [0, 1, 1, 0], 3)
    assert metrics["test_precision"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert metrics["test_recall"] == pytest.approx((1 + 1 + 0) / 3)


def test_a_class_that_does_not_occur_is_no_part_of_the_mean() -> None:
    assert prediction_metrics([0, 1, 1], [0, 1, 1], 3)["test_f1"] == 1.0


def test_whose_metrics_they_are_is_said() -> None:
    assert metrics_of(["ham", "spam"]) == "of spam"
    assert metrics_of(["a", "b", "c"]) == "macro, over 3 classes"
