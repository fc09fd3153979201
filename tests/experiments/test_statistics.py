"""What a summary concludes from records: standings, the majority, who learned, and what it may not conclude."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headtohead.experiments.columns import summary_frame
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.inference import wilson_limit
from headtohead.experiments.record import load_record, run_directory, save_record
from headtohead.experiments.statistics import (
    Spread,
    Summary,
    Verdict,
    pareto_front,
    summarise,
)  # fmt: skip
from tests.experiments.synthetic import FOUR, Made, write_synthetic

SEEDS = (1, 2, 3, 4, 5)


def summary_of(directory: Path, *args: object, **options: object) -> Summary:
    return summarise(load_experiment(write_synthetic(directory, *args, **options)))  # type: ignore[arg-type]


def test_spread_uses_the_sample_standard_deviation() -> None:
    assert Spread.of([0.9, None, 1.0]) == Spread(0.95, pytest.approx(0.0707106781), 2)  # type: ignore[arg-type]
    assert Spread.of([0.9]) == Spread(0.9, None, 1)
    assert Spread.of([None]) is None
    assert Spread.of([0.1, 0.1, 0.1]) == Spread(pytest.approx(0.1), 0.0, 3)  # type: ignore[arg-type]


def test_pareto_front_has_no_dominated_and_no_double_point() -> None:
    points = [("big", 100, 0.9), ("small", 1, 0.7), ("worse", 10, 0.6), ("same", 100, 0.9), ("mid", 10, 0.8)]
    assert pareto_front(points) == ("small", "mid", "big")


def test_close_strategies_share_the_lead_and_a_bad_one_does_not(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR, SEEDS)
    assert set(summary.leaders) == {"last_block", "all_layers", "lora"}
    assert not summary.clear_winner
    assert len(summary.comparisons) == 6
    assert summary.pareto[0] == "head"
    verdicts = {row.label: row.standing.verdict for row in summary.rows}
    assert verdicts["head"] == Verdict.BELOW and list(verdicts.values()).count(Verdict.BEST) == 1


def test_a_clear_winner_is_called_so(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", [Made("good", skill=0.98), Made("poor", skill=0.7)], SEEDS)
    assert summary.clear_winner and summary.leaders == ("good",)


def test_one_seed_claims_no_difference(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", [Made("good", skill=0.98), Made("poor", skill=0.7)])
    assert not summary.clear_winner and summary.leaders == ("good", "poor") and summary.comparisons == ()
    assert [row.standing.verdict for row in summary.rows] == [Verdict.BEST, Verdict.UNTESTED]


def test_a_strategy_with_one_finished_seed_is_not_judged(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR, SEEDS, missing=[("head", seed) for seed in SEEDS[1:]])
    assert {row.label: row.standing.verdict for row in summary.rows}["head"] == Verdict.UNTESTED
    assert "head" in summary.leaders and len(summary.comparisons) == 3


def test_copies_are_as_good_where_there_are_enough_messages(tmp_path: Path) -> None:
    made = [
        Made("big", params=9_000, skill=0.95),
        Made("small", params=90, skill=0.95),
        Made("bad", skill=0.8),
    ]
    directory = write_synthetic(tmp_path / "x", made, SEEDS, n_test=4000)
    for seed in SEEDS:
        same = load_record(run_directory(directory, f"big-s{seed}"))
        run = run_directory(directory, f"small-s{seed}")
        save_record(
            run, replace(same, run_id=f"small-s{seed}", label="small", strategy="small", trainable_params=90)
        )
    summary = summarise(load_experiment(directory))
    standing = {row.label: row.standing for row in summary.rows}
    assert summary.best.label == "small" and standing["big"].verdict == Verdict.AS_GOOD
    assert standing["big"].difference == 0 and 0 < (standing["big"].shortfall_limit or 0.0) < 0.02
    assert standing["bad"].verdict == Verdict.BELOW and not standing["bad"].within_margin


def test_few_messages_leave_it_open(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR[1:], SEEDS, n_test=60)
    assert len(summary.with_verdict(Verdict.OPEN)) == 2
    assert all(not row.within_margin for row in summary.with_verdict(Verdict.OPEN))


def test_the_best_ones_interval_allows_for_its_being_picked(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR[1:])
    for row in summary.rows:
        tail = 0.025 / (3 if row is summary.best else 1)
        accuracy = row.test_accuracy or 0.0
        assert row.interval == (wilson_limit(accuracy, 300, tail, -1), wilson_limit(accuracy, 300, 0.025, +1))


def test_what_is_at_the_majority_does_not_beat_it(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", [Made("good", skill=0.95), Made("guess", skill=0.51)], SEEDS)
    good, guess = summary.rows
    assert good.above_majority is True and guess.above_majority is False


def test_a_run_that_did_not_learn_is_flagged(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:2], (1, 2))
    run = run_directory(directory, "head-s2")
    save_record(run, replace(load_record(run), train_accuracy=0.515))
    head, block = summarise(load_experiment(directory)).rows
    assert head.learned is False and head.learning.failed_seeds == (2,)
    assert head.learning.majority_share == pytest.approx(0.5, abs=0.001)
    assert block.learned is True


def test_what_trains_nothing_has_nothing_to_learn(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", [FOUR[0], Made("majority", "baselines", 0, 0.5)])
    assert [row.learned for row in summary.rows] == [True, None]


def test_nothing_is_concluded_from_another_test_set(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    path = directory / "data" / "test.csv"
    path.write_text(path.read_text().replace("0,message", "1,message"))
    summary = summarise(load_experiment(directory))
    assert summary.comparisons == () and not summary.clear_winner
    assert set(summary.unpaired) == {made.label for made in FOUR}


def test_labels_written_as_names_are_understood(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, SEEDS)
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
