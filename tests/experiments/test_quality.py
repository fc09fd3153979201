"""Quality beyond accuracy: the figures of a report, computed again by scikit-learn from results.json alone."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics
from sklearn.calibration import calibration_curve

from headtohead.experiments import report
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.metrics import (
    calibration_error,
    prediction_metrics,
    probability_metrics,
    reliability,
)
from headtohead.experiments.quality import answers_by_message, operating_points, threshold_at
from headtohead.experiments.report import write_report
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.sections import forgetting, messages
from headtohead.experiments.statistics import Summary, summarise
from tests.experiments.synthetic import FOUR, Made, write_synthetic

RATE = ReportSettings(max_false_positive_rate=0.05)


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    directory = write_synthetic(tmp_path_factory.mktemp("quality") / "x", FOUR, (1, 2, 3))
    return summarise(load_experiment(directory, RATE))


@pytest.fixture(scope="module")
def written(summary: Summary) -> tuple[str, list[dict[str, Any]]]:
    """report.md, and the records of results.json."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw_all", lambda summary: [])
        paths = write_report(summary)
    return paths["report.md"].read_text(), json.loads(paths["results.json"].read_text())


def cells(text: str, caption: str, first: str) -> list[str]:
    """The numbers of the line that begins with ``first`` in the table under ``caption``."""
    below = text.partition(caption)[2]
    (line, *_) = [line for line in below.splitlines() if line.startswith(f"| {first} |")]
    return [cell.split(" ± ")[0].strip() for cell in line.strip("| ").split("|")[first.count("|") + 1 :]]


def test_the_tables_are_what_scikit_learn_computes_from_the_records(
    summary: Summary, written: tuple[str, list[dict[str, Any]]]
) -> None:
    text, records = written
    truth = pd.read_csv(summary.experiment.directory / "data" / "test.csv")["Label"].to_numpy()
    for label in ("head", "lora"):
        runs = [each for each in records if each["label"] == label]
        spam = [np.array(each["test_probabilities"])[:, 1] for each in runs]
        named = [np.array(each["test_predictions"]) for each in runs]
        expected = [
            f"{100 * np.mean([metrics.f1_score(truth, each, average='macro') for each in named]):.1f}",
            f"{np.mean([metrics.roc_auc_score(truth, each) for each in spam]):.3f}",
            f"{np.mean([metrics.average_precision_score(truth, each) for each in spam]):.3f}",
            f"{np.mean([metrics.brier_score_loss(truth, each) for each in spam]):.3f}",
        ]
        assert cells(text, "standard deviations over the seeds, on the test messages.", label)[:4] == expected
        by_class = [metrics.precision_recall_fscore_support(truth, each)[:3] for each in named]
        for place, name in enumerate(("ham", "spam")):
            mean = np.mean([[figure[place] for figure in each] for each in by_class], axis=0)
            assert cells(text, "By class.", f"{label} | {name}") == [f"{100 * each:.1f}" for each in mean]


def test_recall_within_a_false_positive_rate_uses_the_validation_messages(
    summary: Summary, written: tuple[str, list[dict[str, Any]]]
) -> None:
    text, records = written
    folder = summary.experiment.directory / "data"
    validation, truth = (
        pd.read_csv(folder / f"{name}.csv")["Label"].to_numpy() for name in ("validation", "test")
    )
    recalls, rates = [], []
    for record in (each for each in records if each["label"] == "lora"):
        said = np.array(record["validation_probabilities"])[:, 1]
        allowed = int(0.05 * (validation == 0).sum())  # so many ham may reach the threshold
        lowest = np.sort(said[validation == 0])[::-1][allowed]
        threshold = said[said > lowest].min()
        called = np.array(record["test_probabilities"])[:, 1] >= threshold
        recalls.append(metrics.recall_score(truth, called))
        rates.append(called[truth == 0].mean())
    found = cells(text, "At a false-positive rate of 5 %", "lora")
    assert found[:2] == [f"{100 * np.mean(recalls):.1f}", f"{100 * np.mean(rates):.1f}"]
    assert re.search(r"75 are ham, so 3 of them may be", text)


def test_a_threshold_keeps_its_rate_and_is_the_lowest_that_does() -> None:
    truth = np.array([False, False, False, False, True, True, True])
    scores = np.array([0.1, 0.2, 0.3, 0.9, 0.4, 0.8, 0.95])
    assert threshold_at(truth, scores, 0.0) == 0.95
    assert threshold_at(truth, scores, 0.25) == 0.4
    assert threshold_at(truth, np.full(7, 0.5), 0.1) == np.inf  # all the same: none may be called


def test_reliability_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    said = rng.dirichlet((1, 1, 1), 400)
    labels = rng.integers(3, size=400)
    right = said.argmax(axis=1) == labels
    true, mean = calibration_curve(right, said.max(axis=1), n_bins=10)
    curve = reliability(labels.tolist(), said)
    assert curve[0] == pytest.approx(mean) and curve[1] == pytest.approx(true)
    assert curve[2].sum() == 400
    assert calibration_error(labels.tolist(), said) == pytest.approx(abs(true - mean) @ curve[2] / 400)
    assert calibration_error([0, 1], np.eye(2)) == 0


def test_three_classes_are_each_held_against_the_others() -> None:
    rng = np.random.default_rng(1)
    labels, said = rng.integers(3, size=60).tolist(), rng.dirichlet((1, 1, 1), 60)
    found = probability_metrics(labels, said)
    assert found["test_roc_auc"] == pytest.approx(metrics.roc_auc_score(labels, said, multi_class="ovr"))
    assert found["test_brier"] == pytest.approx(metrics.brier_score_loss(labels, said, scale_by_half=True))
    named = said.argmax(axis=1).tolist()
    by_class = prediction_metrics(labels, named, 3)
    assert by_class["test_class_recall"] == pytest.approx(
        metrics.recall_score(labels, named, average=None).tolist()
    )
    assert by_class["test_macro_f1"] == pytest.approx(metrics.f1_score(labels, named, average="macro"))
    assert probability_metrics([0, 1], np.full((2, 3), 1 / 3))["test_roc_auc"] is None


def test_messages_are_shown_with_their_text_and_their_sides(summary: Summary) -> None:
    answers = answers_by_message(summary)
    truth = np.array(summary.truth)
    for answer in answers[:50]:
        for row, share in zip(summary.rows, answer.shares, strict=True):
            right = np.mean([run.test_predictions[answer.index] == truth[answer.index] for run in row.runs])  # type: ignore[index]
            assert share == right
            assert (row.label in answer.right) == (right > 0.5)
    section = messages.section(summary)
    assert section is not None
    disagreed = section.tables[0]
    assert all(row[3] and row[4] for row in disagreed.rows)
    number = int(disagreed.rows[0][0].removeprefix("test message "))
    assert disagreed.rows[0][2] == f"message {number - 1}"
    wrong = section.tables[1]
    assert all(max(answers[int(row[0].removeprefix("test message ")) - 1].shares) == 0 for row in wrong.rows)


def test_forgetting_of_weights_that_know_nothing_is_said_to_mean_nothing(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:2])
    known = forgetting.section(summarise(load_experiment(directory)))
    assert known is not None and "nothing to forget and" not in " ".join(known.sentences)
    for path in directory.glob("runs/*/record.json"):
        record = json.loads(path.read_text()) | {"language_loss_before": 10.9}
        path.write_text(json.dumps(record))
    unknown = forgetting.section(summarise(load_experiment(directory)))
    assert unknown is not None and "they are not pretrained" in " ".join(unknown.sentences)


def test_old_records_without_probabilities_still_make_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "draw_all", lambda summary: [])
    directory = write_synthetic(tmp_path / "x", (Made("head"), Made("lora")))
    new = {"schema_version": 2}
    for path in directory.glob("runs/*/record.json"):
        record = {
            key: value
            for key, value in json.loads(path.read_text()).items()
            if "probabilities" not in key and not key.startswith(("test_class", "test_brier", "language"))
        }
        path.write_text(json.dumps(record | new))
    summary = summarise(load_experiment(directory, RATE))
    assert operating_points(summary, summary.rows[0], 0.05) == []
    text = write_report(summary)["report.md"].read_text()
    assert "Quality beyond accuracy" not in text and "Messages that tell strategies apart" in text
