"""The advisor: ranked on validation whatever the test labels are, and never surer than the tests."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headtohead.experiments import command_line, report
from headtohead.experiments.advice_words import advice
from headtohead.experiments.advisor import Advice, advise
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.sections import quality
from headtohead.experiments.statistics import Summary, summarise
from tests.experiments.synthetic import FOUR, Made, write_synthetic

SEEDS = (1, 2, 3, 4, 5)
LIMITS = ReportSettings(max_size=30_000_000, max_latency=0.04)


def summary_of(directory: Path, asked: ReportSettings | None = None) -> Summary:
    return summarise(load_experiment(directory, asked))


def advice_of(directory: Path, asked: ReportSettings | None = None) -> Advice:
    found = advise(summary_of(directory, asked))
    assert found is not None
    return found


def edit(directory: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Replace fields of every record."""
    for path in sorted(directory.glob("runs/*/record.json")):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | change(record)))


@pytest.mark.parametrize("asked", [None, LIMITS, ReportSettings(max_train_time=20.0)])
def test_shuffled_test_labels_change_no_ranking(asked: ReportSettings | None, tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, SEEDS)
    before = advice_of(directory, asked)
    path = directory / "data" / "test.csv"
    table = pd.read_csv(path)
    table["Label"] = np.random.default_rng(0).permutation(table["Label"])
    table.to_csv(path, index=False)
    truth = table["Label"].to_numpy()
    edit(
        directory,
        lambda record: {"test_accuracy": float((np.array(record["test_predictions"]) == truth).mean())},
    )
    after = advice_of(directory, asked)
    assert after.summary.best is not None and (after.summary.best.test_accuracy or 1) < 0.6  # it was shuffled
    assert [row.label for row in after.ranked] == [row.label for row in before.ranked]
    assert after.excluded == before.excluded


def test_what_the_tests_tell_apart_is_said_so_and_nothing_else(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, SEEDS)
    found = advice_of(directory)
    first = found.first
    assert first is not None and first.label in ("all_layers", "lora")
    words = " ".join(advice(summary_of(directory)))
    assert words.startswith("Recommended: lora, all_layers or last_block.")
    assert "not distinguishable" in words and "head is less accurate than" in words
    for row in found.ranked[1:]:
        comparison = found.summary.comparison(row.label, first.label)
        assert comparison is not None
        assert (row in found.open_against(first)) == (comparison.adjusted_p >= 0.05)


def test_a_faster_one_is_named_only_where_no_run_contradicts(tmp_path: Path) -> None:
    made = (
        Made("slow", params=9000, skill=0.95, seconds=24.0),
        Made("quick", params=9000, skill=0.95, seconds=2.0),
    )
    directory = write_synthetic(tmp_path / "x", made, SEEDS)
    edit(directory, lambda record: {"validation_accuracy": 0.99 if record["label"] == "slow" else 0.9})
    words = " ".join(advice(summary_of(directory)))
    assert words.startswith("Recommended: slow or quick.")
    assert (
        "quick trains 11 times faster than slow" in words or "quick trains 12 times faster than slow" in words
    )
    edit(directory, lambda record: {"train_seconds": 30.0} if record["run_id"] == "quick-s1" else {})
    assert "trains" not in " ".join(advice(summary_of(directory)))
    edit(directory, lambda record: {"grouped": True})
    assert "trains" not in " ".join(advice(summary_of(directory)))


def test_where_the_test_messages_refute_the_ranking_it_stays_and_the_choice_follows(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", (Made("poor", skill=0.7), Made("good", skill=0.97)), SEEDS)
    edit(directory, lambda record: {"validation_accuracy": 0.99 if record["label"] == "poor" else 0.9})
    found = advice_of(directory)
    assert [row.label for row in found.ranked] == ["poor", "good"]
    assert found.choice is not None and found.choice.label == "good"
    words = " ".join(advice(summary_of(directory)))
    assert words.startswith("Recommended: good.") and "good is more accurate than it beyond chance" in words


def test_one_seed_claims_nothing(tmp_path: Path) -> None:
    words = " ".join(advice(summary_of(write_synthetic(tmp_path / "x", FOUR, (1,)))))
    assert "Not tested against" in words and "the order may be chance" in words
    assert "beyond chance" not in words and "not distinguishable" not in words


def test_limits_leave_out_what_breaks_them_and_what_is_not_known(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, (1, 2))
    edit(directory, lambda record: {"latency_ms": None} if record["label"] == "head" else {})
    found = advice_of(directory, LIMITS)
    excluded = {each.label: each for each in found.excluded}
    assert excluded["all_layers"].breaks == ("max_size", "max_latency")
    assert excluded["head"].unknown == ("max_latency",)
    assert {row.label for row in found.ranked} == {"last_block", "lora"}  # lora is fast enough once merged
    words = " ".join(advice(summary_of(directory, LIMITS)))
    assert words.startswith("Under your limits (size on disk at most 30 MB, latency at most 40 ms): ")
    nothing = " ".join(advice(summary_of(directory, replace(LIMITS, max_size=1))))
    assert nothing.startswith("No strategy is shown to keep your limits")


def test_runs_timed_together_keep_a_limit_that_all_of_them_keep(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", [replace(each, grouped=True) for each in FOUR], (1, 2))
    total = sum(run.train_seconds or 0 for row in summary_of(directory).rows for run in row.runs)
    assert len(advice_of(directory, ReportSettings(max_train_time=total + 5)).ranked) == 4
    assert advice_of(directory, ReportSettings(max_train_time=total - 5)).first is None


def test_labels_are_answered_by_runs_with_so_few(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, (1, 2))
    asked = ReportSettings(labels=100)
    words = " ".join(advice(summary_of(directory, asked)))
    assert "All runs had 1,045 training messages" in words and "at most 100 labels" not in words
    found = advise(with_subsets(directory, asked))
    assert found is not None and found.first is not None
    assert (found.messages, found.first.label) == (64, "head")
    assert "at most 100 labels" in advice(with_subsets(directory, asked))[0]
    without = " ".join(advice(with_subsets(directory, None)))
    assert "With the fewest labels tried (64), head is first on validation (90.0 %)." in without


def with_subsets(directory: Path, asked: ReportSettings | None) -> Summary:
    """The same with runs of 64 training messages, of which head's are the best on validation."""
    experiment = load_experiment(directory, asked)
    subsets = [
        replace(
            record,
            run_id=f"{record.run_id}-n64",
            train_size=64,
            validation_accuracy=0.9 if record.label == "head" else 0.6,
        )
        for record in experiment.records
    ]
    return summarise(replace(experiment, aside=tuple(subsets)))


def test_report_only_takes_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "draw_all", lambda summary: [])
    monkeypatch.setattr(quality, "_reliability", lambda summary, rows: None)
    directory = write_synthetic(tmp_path / "x", FOUR, (1, 2))
    flags = ["--report-only", "--results-dir", str(tmp_path), "--name", "x", "--max-size", "1MB"]
    assert command_line.main(flags) == 0
    text = (directory / "report.md").read_text()
    assert text.index("Under your limits (size on disk at most 1 MB): head.") < text.index(
        "## What was compared"
    )
    assert "Under your limits" in capsys.readouterr().out
    assert command_line.main(flags[:-2]) == 0  # what was asked once is not asked for ever
    assert "Under your limits" not in (directory / "report.md").read_text()
