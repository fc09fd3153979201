"""Intervals and paired tests: against SciPy, against hand-made cases, and by simulation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headtohead.experiments.columns import summary_frame
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.record import load_record, run_directory, save_record
from headtohead.experiments.statistics import (
    Spread,
    Summary,
    accuracy_interval,
    crossed_variance,
    holm,
    paired_p_value,
    pareto_front,
    summarise,
    wilson_interval,
)  # fmt: skip
from tests.experiments.synthetic import FOUR, Made, write_synthetic


def summary_of(directory: Path, *args: object, **options: object) -> Summary:
    return summarise(load_experiment(write_synthetic(directory, *args, **options)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("right", "size"), [(0, 10), (10, 10), (287, 300), (1, 3), (150, 300)])
def test_wilson_is_scipys(right: int, size: int) -> None:
    expected = stats.binomtest(right, size).proportion_ci(method="wilson")
    assert wilson_interval(right / size, size) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_books_test_set_resolves_about_two_points() -> None:
    low, high = wilson_interval(0.96, 300)
    assert 0.018 < (high - low) / 2 < 0.026


def test_spread_uses_the_sample_standard_deviation() -> None:
    assert Spread.of([0.9, None, 1.0]) == Spread(0.95, pytest.approx(0.0707106781), 2)  # type: ignore[arg-type]
    assert Spread.of([0.9]) == Spread(0.9, None, 1)
    assert Spread.of([None]) is None


def test_seeds_that_answer_alike_do_not_enlarge_the_test_set() -> None:
    correct = np.tile((np.arange(100) >= 10).astype(float), (5, 1))
    assert accuracy_interval([0.9] * 5, 100, correct) == pytest.approx(wilson_interval(0.9, 100), abs=0.003)


def test_seeds_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    correct = (rng.uniform(size=(3, 300)) < np.array([[0.8], [0.9], [0.97]])).astype(float)
    low, high = accuracy_interval(list(correct.mean(axis=1)), 300, correct)
    single = wilson_interval(float(correct.mean()), 300)
    assert high - low > 2 * (single[1] - single[0])
    without_predictions = accuracy_interval(list(correct.mean(axis=1)), 300, None)
    assert without_predictions[0] == pytest.approx(low, abs=0.03)


def test_all_right_is_not_certain() -> None:
    low, high = accuracy_interval([1.0, 1.0], 50, np.ones((2, 50)))
    assert high == 1.0 and low < 0.95


def test_the_interval_covers_when_seeds_and_messages_both_vary() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        # logit of being right: a common level, a part of the seed's, a part of the message's
        seeds, messages = rng.normal(0, 0.4, (3, 1)), rng.normal(0, 1.0, (1, 120))
        correct = (rng.uniform(size=(3, 120)) < 1 / (1 + np.exp(-(2.0 + seeds + messages)))).astype(float)
        low, high = accuracy_interval(list(correct.mean(axis=1)), 120, correct)
        covered += low <= 0.8395 <= high  # E[sigmoid(2 + sqrt(1.16) z)] by quadrature
    assert covered / 300 > 0.92


def test_crossed_variance_counts_rows_and_columns() -> None:
    values = np.array([[1.0, 0.0], [1.0, 0.0]])
    assert crossed_variance(values)[0] == pytest.approx(0.25)
    assert crossed_variance(values.T)[0] == pytest.approx(0.25)


def test_one_seed_is_mcnemars_exact_test() -> None:
    first, second = np.ones((1, 40)), np.ones((1, 40))
    second[0, :9] = 0
    first[0, 9:11] = 0
    assert paired_p_value(first, second) == pytest.approx(stats.binomtest(2, 11).pvalue)
    assert paired_p_value(first, first) == 1.0


def test_one_lucky_seed_is_not_a_difference() -> None:
    first, second = np.ones((2, 300)), np.ones((2, 300))
    second[1, :30] = 0  # 30 messages, but all from one seed
    assert paired_p_value(first[1:], second[1:]) < 1e-6
    assert paired_p_value(first, second) > 0.05


def test_the_paired_test_keeps_its_level() -> None:
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(400):
        hard = rng.uniform(size=(1, 150)) < 0.2
        one, other = (np.where(hard, rng.uniform(size=(3, 150)) < 0.5, 1).astype(float) for _ in range(2))
        rejected += paired_p_value(one, other) < 0.05
    assert rejected / 400 < 0.06


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_pareto_front_has_no_dominated_and_no_double_point() -> None:
    points = [("big", 100, 0.9), ("small", 1, 0.7), ("worse", 10, 0.6), ("same", 100, 0.9), ("mid", 10, 0.8)]
    assert pareto_front(points) == ("small", "mid", "big")


def test_close_strategies_share_the_lead_and_a_bad_one_does_not(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x")
    assert set(summary.leaders) == {"last_block", "all_layers", "lora"}
    assert not summary.clear_winner
    assert len(summary.comparisons) == 6
    assert summary.pareto[0] == "head"


def test_a_clear_winner_is_called_so(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", [Made("good", skill=0.98), Made("poor", skill=0.7)])
    assert summary.clear_winner and summary.leaders == ("good",)


def test_nothing_is_concluded_from_another_test_set(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    path = directory / "data" / "test.csv"
    path.write_text(path.read_text().replace("0,message", "1,message"))
    summary = summarise(load_experiment(directory))
    assert summary.comparisons == () and not summary.clear_winner
    assert set(summary.unpaired) == {made.label for made in FOUR}


def test_labels_written_as_names_are_understood(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    path = directory / "data" / "test.csv"
    path.write_text(path.read_text().replace("0,message", "ham,message").replace("1,message", "spam,message"))
    assert len(summarise(load_experiment(directory)).comparisons) == 6


def test_failed_and_missing_runs_are_counted_and_not_averaged(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR, (1, 2, 3), failed={("lora", 2): "boom"}, missing=[("head", 3)])
    rows = {row.label: row for row in summary.rows}
    assert [run.seed for run in rows["lora"].failed] == [2]
    assert rows["head"].missing_seeds == (3,)
    assert rows["lora"].spread("test_accuracy").n == 2
    frame = summary_frame(summary).set_index("label")
    assert frame.loc["lora", "runs_failed"] == 1 and frame.loc["head", "runs_missing"] == 1
    accuracies = [run.test_accuracy for run in rows["last_block"].runs]
    assert frame.loc["last_block", "test_accuracy"] == pytest.approx(
        np.mean(np.array(accuracies, dtype=float))
    )


def test_grouped_timings_are_never_mixed_with_solo_ones(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:2], (1, 2))
    for label, seed in (("head", 1), ("last_block", 1), ("last_block", 2)):
        run = run_directory(directory, f"{label}-s{seed}")
        save_record(run, replace(load_record(run), grouped=True, train_seconds=1000.0))
    mixed, grouped = summarise(load_experiment(directory)).rows
    assert not mixed.timed_in_groups and mixed.timing("train_seconds").n == 1
    assert mixed.timing("train_seconds").mean < 100
    assert grouped.timed_in_groups and grouped.timing("train_seconds").mean == 1000


def test_only_failures_make_a_summary_too(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR[:1], failed={("head", 123): "boom"})
    assert summary.best is None and summary.leaders == () and summary.pareto == ()
    assert len(summary_frame(summary)) == 1
