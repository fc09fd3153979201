"""Figures of a report, computed again from results.json and data/*.csv by scipy and statsmodels.

Those of quality beyond accuracy are computed again by scikit-learn in test_quality.py.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.libqsturng import psturng
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

from headtohead.experiments import report
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.report import write_report
from headtohead.experiments.sections import quality
from headtohead.experiments.statistics import summarise
from tests.experiments.synthetic import FOUR, write_synthetic

Records = list[dict[str, Any]]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_all", lambda summary: [])
    monkeypatch.setattr(quality, "_reliability", lambda summary, rows: None)


def written(directory: Path) -> tuple[str, pd.DataFrame, Records, np.ndarray]:
    """report.md, summary.csv, results.json, and the classes of the test messages."""
    paths = write_report(summarise(load_experiment(directory)))
    return (
        paths["report.md"].read_text(),
        pd.read_csv(paths["summary.csv"]).set_index("label"),
        json.loads(paths["results.json"].read_text()),
        pd.read_csv(directory / "data" / "test.csv")["Label"].to_numpy(),
    )


def answers(records: Records, truth: np.ndarray) -> dict[str, np.ndarray]:
    """Label -> (N,) of 0 / 1, of its first run."""
    return {
        each["label"]: (np.array(each["test_predictions"]) == truth).astype(float)
        for each in reversed(records)
    }


def best_of(frame: pd.DataFrame) -> str:
    """The highest test accuracy; of equal ones that with the fewest parameters."""
    ranked = frame.sort_values(["test_accuracy", "trainable_params"], ascending=[False, True])
    return str(ranked.index[0])


def alike(directory: Path) -> Path:
    """Every seed of a strategy answers as its first one: what is left is the messages' chance alone."""
    first: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.glob("runs/*/record.json")):
        record = json.loads(path.read_text())
        source = first.setdefault(record["label"], record)
        same = ("test_predictions", "test_accuracy")
        path.write_text(json.dumps(record | {name: source[name] for name in same}))
    return directory


def test_intervals_of_single_runs_are_wilsons(tmp_path: Path) -> None:
    text, frame, records, truth = written(write_synthetic(tmp_path / "x", FOUR))
    best = best_of(frame)
    for label, right in answers(records, truth).items():
        low, high = proportion_confint(right.sum(), len(right), method="wilson")
        if label == best:  # allows for its having been picked out of those not shown to be below it
            low, _ = proportion_confint(right.sum(), len(right), 0.05 / len(FOUR), "wilson")
        assert frame["test_accuracy_low"][label] == pytest.approx(low)
        assert frame["test_accuracy_high"][label] == pytest.approx(high)
        assert f"{100 * low:.1f}–{100 * high:.1f}" in text


def test_means_and_deviations_are_those_of_the_records(tmp_path: Path) -> None:
    _, frame, records, _ = written(write_synthetic(tmp_path / "x", FOUR, (1, 2, 3)))
    for label, runs in pd.DataFrame(records).groupby("label"):
        for name in ("test_accuracy", "test_f1", "test_roc_auc", "train_seconds", "latency_ms", "test_brier"):
            known = runs[name].astype(float)
            described = DescrStatsW(known, ddof=1)
            assert frame[name][str(label)] == pytest.approx(described.mean)
            assert frame[f"{name}_sd"][str(label)] == pytest.approx(described.std)


def test_p_values_against_the_best_are_those_of_the_studentized_range(tmp_path: Path) -> None:
    _, frame, records, truth = written(alike(write_synthetic(tmp_path / "x", FOUR, (1, 2, 3))))
    right = answers(records, truth)
    best = best_of(frame)
    ratios = {}
    for label in frame.index.drop(best):
        one = np.append(right[label], [0, 1]) - np.append(
            right[best], [1, 0]
        )  # a message added to either side
        size = len(truth)
        variance = ((one[:-2] - one[:-2].mean()) ** 2).sum() / (size * (size - 1)) + 2 / size**2
        ratios[label] = abs(one[:-2].mean()) / variance**0.5
    expected, largest = {}, 0.0
    for left, label in enumerate(sorted(ratios, key=lambda label: -ratios[label])):
        p_value = stats.studentized_range.sf(2**0.5 * ratios[label], len(FOUR) - left, np.inf)
        expected[label] = largest = max(largest, float(p_value))
    for label, p_value in expected.items():
        assert frame.loc[label, "adjusted_p_against_best"] == pytest.approx(p_value, rel=0.02, abs=1e-4)
    clearest = max(ratios, key=lambda label: ratios[label])
    table = float(
        np.ravel(psturng(2**0.5 * ratios[clearest], len(FOUR), np.inf))[0]
    )  # statsmodels' table ends at 0.001
    assert max(table, 0.001) == pytest.approx(
        max(frame.loc[clearest, "adjusted_p_against_best"], 0.001), rel=0.05
    )


def test_p_values_against_the_majority_are_corrected_as_statsmodels_does(tmp_path: Path) -> None:
    _, frame, records, truth = written(alike(write_synthetic(tmp_path / "x", FOUR, (1, 2))))
    majority = (truth == np.bincount(truth).argmax()).astype(float)
    raw = []
    for label in frame.index:
        one, size = answers(records, truth)[label] - majority, len(truth)
        error = (one.var(ddof=1) / size + 2 / size**2) ** 0.5
        raw.append(stats.norm.sf(one.mean() / error))
    _, adjusted, _, _ = multipletests(raw, method="holm")
    assert frame["adjusted_p_not_above_majority"].tolist() == pytest.approx(
        adjusted.tolist(), rel=1e-6, abs=1e-12
    )


def test_learning_is_scipys_exact_binomial_test(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, (1,))
    train = pd.read_csv(directory / "data" / "train.csv")["Label"]
    share, size = train.value_counts(normalize=True).max(), len(train) // 8 * 8
    for path, accuracy in zip(
        sorted(directory.glob("runs/*/record.json")), (0.5, 0.52, 0.53, 0.9), strict=True
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"train_accuracy": accuracy}))
    _, frame, records, _ = written(directory)
    for record in records:
        right = round(record["train_accuracy"] * size)
        p_value = stats.binomtest(right, size, share, alternative="greater").pvalue
        assert frame.loc[record["label"], "learned"] == (p_value < 0.05)
    assert set(frame["learned"]) == {True, False}
