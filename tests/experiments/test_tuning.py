"""Tuning chooses on validation alone, with equal budgets, and what it tried never counts as a result."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from headtohead.core.engine import Engine, fit, heads, side_by_side, stacked
from headtohead.core.engine.finish import finish_run
from headtohead.core.errors import InputError
from headtohead.core.search import Around, Choice, Search, trials
from headtohead.experiments import runner
from headtohead.experiments.folder import LoadedExperiment, load_experiment
from headtohead.experiments.inputs import find_inputs
from headtohead.experiments.record import RunRecord
from headtohead.experiments.sections import Section, tuning
from headtohead.experiments.spec import Experiment
from headtohead.experiments.statistics import Summary, summarise
from headtohead.experiments.tuning import (
    Tried,
    best,
    candidates,
    expected_best,
    on_edge,
    ranking,
    read_sweeps,
    tried,
)
from headtohead.experiments.wording import UNKNOWN
from headtohead.strategies import build_variants
from tests import small
from tests.experiments.tiny import use_tiny_demo, write_messages

WAYS = (fit, heads, side_by_side, stacked)  # in which runs are prepared and finished


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("headtohead.experiments.report.draw_all", lambda summary: [])
    monkeypatch.setattr("headtohead.experiments.sections.tuning._charts", lambda known: [])
    return {
        "strategies": "head", "model": "demo", "data": str(write_messages(tmp_path / "messages.tsv")),
        "seeds": "1,2", "epochs": 5, "device": "cpu", "results_dir": tmp_path / "results", "name": "tuned",
        "tune": 3,
    }  # fmt: skip


def run(settings: dict[str, Any], **changes: Any) -> Summary:
    return runner.compare(Experiment.of({**settings, **changes}, "python run_all.py"))


def loaded(settings: dict[str, Any]) -> LoadedExperiment:
    return load_experiment(settings["results_dir"] / settings["name"])


def found_section(settings: dict[str, Any]) -> Section:
    section = tuning.section(summarise(loaded(settings)))
    assert section is not None
    return section


def chosen(settings: dict[str, Any]) -> dict[str, Any]:
    return {record.label: record.hyperparameters for record in loaded(settings).records}


# --- what is tried -----------------------------------------------------------------------------------------------


def test_a_grid_has_its_default_and_both_sides() -> None:
    assert Around(100).grid(1e-3, 5) == (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
    assert Around(100).grid(5e-5, 1) == (5e-5,)
    for count in range(1, 30):
        grid = Around(100).grid(5e-5, count)
        assert len(set(grid)) == count and 5e-5 in grid and list(grid) == sorted(grid)
        assert max(grid) <= 5e-3 * 1.01 and min(grid) >= 5e-7 * 0.99


def test_further_fields_take_turns_and_the_defaults_are_tried() -> None:
    search: Search = {"learning_rate": Around(10), "r": Choice((4, 8))}
    found = trials(search, {"learning_rate": 1e-3, "r": 16}, 6)
    assert len(found) == 6 and {"learning_rate": 1e-3, "r": 16} in found
    assert sorted(each["r"] for each in found) == [4, 4, 8, 8, 16, 16]


def test_every_strategy_gets_the_same_budget_and_a_label_keeps_what_it_sets() -> None:
    variants = build_variants(["head", "lora@r=4", "lora@learning_rate=1e-4", "majority"])
    found = candidates(variants, 7, (), small.TINY_DEMO)
    assert [len(each.tried) for each in found] == [7, 7, 3, 0]  # of the third only the rank is searched
    assert all(getattr(each.strategy, "r", None) == 4 for each in found[1].tried)
    assert all(each.default is not None for each in found[:2])


def test_a_sweep_by_hand_is_the_whole_product() -> None:
    variants = build_variants(["lora", "head"])
    swept = ["lora.learning_rate=1e-4/1e-3", "lora.r=2/4/8"]
    lora, head = candidates(variants, None, swept, small.TINY_DEMO)
    assert len(lora.tried) == 6 and lora.default is None and not head.tried
    assert lora.tried[0].label == "lora@learning_rate=0.0001+r=2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lora", "not NAME.FIELD"),
        ("lora.r=4", "two different values"),
        ("lora.r=4/4", "two different values"),
        ("lora.r=4/", "two different values"),
        ("haed.learning_rate=1/2", "did you mean 'head'"),
        ("lora.rank=4/8", "no field 'rank'"),
        ("lora.r=4/x", "not a whole number"),
        ("lora.r=4/1000", "the model's width"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        candidates(build_variants(["lora", "head"]), None, [text], small.TINY_DEMO)


def test_a_field_is_swept_once() -> None:
    with pytest.raises(InputError, match="swept already"):
        read_sweeps(["lora.r=4/8", "lora.r=16/32"])


# --- what is made of it ------------------------------------------------------------------------------------------


def test_the_expected_best_is_the_mean_over_all_draws() -> None:
    values = np.random.default_rng(0).uniform(size=8)
    for drawn, expected in enumerate(expected_best(list(values)), start=1):
        assert expected == pytest.approx(np.mean([max(draw) for draw in combinations(values, drawn)]))


def one(label: str, accuracy: float | None, loss: float | None = 0.5, epochs: int = 5) -> Tried:
    return Tried("head", label, epochs, {}, accuracy, loss, 1, True)


def test_the_highest_accuracy_then_the_lowest_loss_of_the_longest_trials_is_chosen() -> None:
    trials = [one("short", 1.0, epochs=1), one("a", 0.9, 0.4), one("b", 0.9, 0.3), one("failed", None, None)]
    assert [each.label for each in ranking(trials)] == ["short", "b", "a"]
    assert best(trials) == trials[2]
    assert best([one("failed", None)]) is None


def test_a_setting_that_failed_under_one_seed_is_not_chosen() -> None:
    facts: dict[str, Any] = {
        "run_id": "x",
        "strategy": "head",
        "label": "l",
        "role": "trial",
        "trial_of": "head",
    }
    good = RunRecord(**facts, seed=1, status="ok", validation_accuracy=1.0, validation_loss=0.1)
    bad = RunRecord(**facts, seed=2, status="failed", error="not finite")
    (found,) = tried([good, bad])
    assert found.accuracy is None and found.seeds == 2


def test_edges() -> None:
    assert on_edge([1e-4, 1e-3, 1e-2], 1e-2) == "highest"
    assert on_edge([1e-4, 1e-3, 1e-2], 1e-4) == "lowest"
    assert on_edge([1e-4, 1e-3, 1e-2], 1e-3) is None
    assert on_edge([1e-3], 1e-3) is None


# --- in an experiment --------------------------------------------------------------------------------------------


def test_trials_are_records_of_their_own_and_never_results(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[set[str]] = []

    def watched(engine: Engine, prepared: Any, history: Any) -> Any:
        met.append(set(history.final_batches))
        return finish_run(engine, prepared, history)

    for way in WAYS:
        monkeypatch.setattr(way, "finish_run", watched)
    summary = run(settings, strategies="head,last_block")
    experiment = loaded(settings)
    tests = [record for record in experiment.aside if record.role == "trial"]
    epochs = [record.train_config["epochs"] for record in tests]
    assert (
        epochs.count(1) == 2 * 3 and 2 * 2 <= epochs.count(5) <= 2 * 3
    )  # the best two and the defaults go on
    for record in tests:
        folder = settings["results_dir"] / "tuned" / "runs" / record.run_id
        assert not (folder / "classifier").exists()
        assert record.validation_accuracy is not None and record.validation_loss is not None
        fields = {name: value for name, value in vars(record).items() if "test_" in name}
        assert set(fields.values()) == {None}
    assert met.count({"train", "validation"}) == len(tests)
    assert [(record.label, record.seed) for record in experiment.records] == [
        ("head", 1), ("head", 2), ("last_block", 1), ("last_block", 2),
    ]  # fmt: skip
    assert len(summary.comparisons) == 1


def test_a_finished_trial_is_not_tried_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings)
    first = chosen(settings)
    for way in WAYS:
        monkeypatch.setattr(way, "prepare_run", lambda *any_: pytest.fail("something was trained again"))
    run(settings)
    assert chosen(settings) == first


def test_shuffled_test_labels_change_no_choice(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings)
    plain, find = chosen(settings), find_inputs

    def shuffled(experiment: Experiment, *more: Any) -> Any:
        inputs = find(experiment, *more)
        inputs.dataset.test.labels.copy_(1 - inputs.dataset.test.labels)
        return inputs

    monkeypatch.setattr("headtohead.experiments.agenda.find_inputs", shuffled)
    other = {**settings, "name": "shuffled"}
    run(other)
    assert chosen(other) == plain
    pairs = zip(loaded(settings).records, loaded(other).records, strict=True)
    for one, flipped in pairs:  # they were other labels
        assert (one.test_accuracy or 0) + (flipped.test_accuracy or 0) == pytest.approx(1)


@pytest.mark.slow
def test_a_bad_default_is_flagged_and_repaired(settings: dict[str, Any]) -> None:
    bad = {"set": ("head.learning_rate=1e-5",)}
    report = settings["results_dir"] / "tuned" / "report.md"
    run(settings, tune=None, **bad)
    assert "head: the training loss never fell" in report.read_text(encoding="utf-8")
    run(settings, sweep=("head.learning_rate=1e-5/1e-3/1e-1",), tune=None, untuned=True, **bad)
    text = report.read_text(encoding="utf-8")
    assert chosen(settings)["head"]["learning_rate"] == 1e-1
    assert "never fell" not in text and "## Tuning" in text
    untuned = [record for record in loaded(settings).aside if record.role == "run"]
    assert {record.hyperparameters["learning_rate"] for record in untuned} == {1e-5}
    assert list(pd.read_csv(report.parent / "summary.csv")["label"]) == ["head"]


@pytest.mark.slow
def test_a_command_without_tuning_compares_the_defaults_and_keeps_what_was_tuned(
    settings: dict[str, Any],
) -> None:
    run(settings)
    tuned = chosen(settings)["head"]
    run(settings, tune=None)
    experiment = loaded(settings)
    first = [record for record in experiment.records if record.label == "head"]
    assert [record.hyperparameters != tuned for record in first] == [True, True]
    assert {record.role for record in experiment.aside} == {"trial"}
    (table,) = found_section(settings).tables
    assert table.rows[0][0] == "head" and UNKNOWN not in table.rows[0]  # untuned and tuned are both there


@pytest.mark.slow
def test_what_an_earlier_command_tuned_stays_beside_what_this_one_tunes(settings: dict[str, Any]) -> None:
    run(settings)
    run(settings, strategies="last_block")
    (table,) = found_section(settings).tables
    assert [row[0] for row in table.rows] == ["last_block", "head"]
    run(settings, tune=2)
    (table,) = found_section(settings).tables
    assert [(row[0], row[4]) for row in table.rows] == [("head", "2"), ("last_block", "3")]
