"""The sentences say what the numbers allow, and nothing that they do not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headtohead.experiments.folder import load_experiment
from headtohead.experiments.record import load_record, run_directory, save_record
from headtohead.experiments.statistics import Summary, summarise
from headtohead.experiments.wording import answer, certainty
from tests.experiments.synthetic import FOUR, Made, write_synthetic

SEEDS = (1, 2, 3, 4, 5)
LARGE = 5000  # test messages: enough to settle two points


def said(directory: Path, made: Sequence[Made] = FOUR, seeds: Sequence[int] = SEEDS, **more: object) -> str:
    return words(summarise(load_experiment(write_synthetic(directory, made, seeds, **more))))  # type: ignore[arg-type]


def words(summary: Summary) -> str:
    return " ".join(answer(summary))


def change(directory: Path, label: str, seed: int, **fields: Any) -> None:
    run = run_directory(directory, f"{label}-s{seed}")
    save_record(run, replace(load_record(run), **fields))


def test_one_seed_says_why_it_claims_nothing(tmp_path: Path) -> None:
    text = said(tmp_path / "x", [Made("good", skill=0.98), Made("poor", skill=0.6)], (1,))
    assert "no difference between strategies is claimed" in text and "--seeds" in text
    assert "of this trained model only, allowing for its being picked out of 2" in text
    for claim in ("beyond chance", "better than", "as good", "below it", "fewest parameters", "fastest"):
        assert claim not in text


def test_too_few_data_are_not_called_as_good(tmp_path: Path) -> None:
    text = said(tmp_path / "x", FOUR[1:], n_test=60)
    assert "too few data to tell it from" in text and "as good: less" not in text
    assert "may be up to" in text and "fewest parameters" not in text and "fastest" not in text
    assert "none is shown to beat the most frequent class and to lie within 2 points" in text


def test_as_good_names_its_margin_and_the_cheapest(tmp_path: Path) -> None:
    made = [Made("big", params=9_000_000, skill=0.96, seconds=90), Made("mid", "x", 90_000, 0.955, 50),
            Made("small", params=900, skill=0.955, seconds=10)]  # fmt: skip
    text = said(tmp_path / "x", made, n_test=LARGE)
    assert "big has the highest" in text
    assert (
        "Of the 3 shown to lie within 2 points of the best (itself included), small trains the fewest" in text
    )
    assert "Among them small trained fastest (10." in text


def test_the_smallest_is_not_named_where_it_is_no_better_than_the_majority(tmp_path: Path) -> None:
    """Two strategies that guess are within two points of each other, and that recommends neither."""
    made = [Made("big", params=9_000, skill=0.502), Made("small", params=90, skill=0.5)]
    text = said(tmp_path / "x", made, n_test=LARGE)
    assert "not shown to beat always naming the most frequent class (50.0 %)" in text
    assert "fewest parameters" not in text and "fastest" not in text


def test_a_worse_one_that_is_no_better_than_the_majority_is_said(tmp_path: Path) -> None:
    text = said(
        tmp_path / "x",
        [Made("good", skill=0.95), Made("guess", skill=0.5), Made("majority", "baselines", 0, 0.5)],
    )
    assert "guess is not shown to beat always naming the most frequent class" in text


def test_fastest_is_not_named_where_runs_were_timed_together(tmp_path: Path) -> None:
    made = [
        Made("big", params=9_000, skill=0.96, seconds=90),
        Made("small", "x", 90, 0.956, 10, grouped=True),
    ]
    text = said(tmp_path / "x", made, n_test=LARGE)
    assert "small trains the fewest" in text and "trained fastest" not in text
    assert "Training times are not compared: small had several seeds timed together." in text


def test_fastest_is_not_named_where_times_overlap(tmp_path: Path) -> None:
    made = [Made("big", params=9_000, skill=0.96, seconds=10), Made("small", "x", 90, 0.956, seconds=9.9)]
    assert "trained fastest" not in said(tmp_path / "x", made, n_test=LARGE)


def test_the_frozen_prefix_counts_as_training(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", [Made("one", skill=0.96, seconds=10), Made("two", "x", 90, 0.956, 5)],
                                SEEDS, n_test=LARGE)  # fmt: skip
    for seed in SEEDS:
        change(directory, "two", seed, prefix_seconds=20.0)
    assert "trained fastest" not in words(summarise(load_experiment(directory)))


def test_choosing_settings_is_said_apart_from_the_final_fit(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:1], (1,))
    change(directory, "head", 1, selection_seconds=12.8, train_seconds=0.3, prefix_seconds=None)
    assert "took 0.3 s to train after 12.8 s of choosing its settings" in words(
        summarise(load_experiment(directory))
    )


@pytest.mark.parametrize(("accuracies", "sentence"), [
    ((0.5, 0.51, 0.49), "head did not learn"),
    ((0.9, 0.51, 0.49), "head (seeds 2 and 3) did not learn"),
    ((0.9, 0.51, 0.95), "head (seed 2) did not learn"),
])  # fmt: skip
def test_what_did_not_learn_is_said(tmp_path: Path, accuracies: Sequence[float], sentence: str) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:2], (1, 2, 3))
    for seed, accuracy in enumerate(accuracies, start=1):
        change(directory, "head", seed, train_accuracy=accuracy)
    text = words(summarise(load_experiment(directory)))
    assert sentence in text and "most frequent class (50.0 %)" in text


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    missing = [("head", seed) for seed in SEEDS[1:]]
    text = said(tmp_path / "x", FOUR, failed={("lora", 2): "boom"}, missing=missing)
    assert "Not tested against it, for want of seeds or predictions: head." in text
    assert "1 run failed and 4 runs are still to be done" in text


def test_a_clear_winner_is_better_than_every_other(tmp_path: Path) -> None:
    made = [Made("good", skill=0.98), Made("poor", skill=0.7), Made("bad", skill=0.6)]
    text = said(tmp_path / "x", made)
    assert "It is better than every other strategy beyond chance." in text and "as good" not in text


def test_certainty_states_method_and_margin(tmp_path: Path) -> None:
    sentences = " ".join(certainty(summarise(load_experiment(write_synthetic(tmp_path / "x", FOUR, SEEDS)))))
    assert "2 points or more below it is refuted at 0.05" in sentences and "picked" in sentences
