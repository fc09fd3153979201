"""The smallest difference that could be seen, what would settle a pair, and looks that err no more than one test."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from headtohead.experiments import power
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.inference import LEVEL, Evidence
from headtohead.experiments.power import POWER, Pair, Plan, found, smallest_difference
from headtohead.experiments.sections import settling
from headtohead.experiments.sequential import Sequential, false_stops, look_sizes, spent
from headtohead.experiments.simulation import World
from headtohead.experiments.statistics import Verdict, evidence_of, summarise
from tests.experiments.synthetic import FOUR, Made, write_synthetic

PLAN = Plan(messages=300, seeds=5, strategies=2, accuracy=0.95, seed_deviation=0.01)


def test_the_smallest_difference_is_where_the_simulation_finds_it_often_enough() -> None:
    plan = replace(PLAN, messages=100)
    smallest = smallest_difference(plan, POWER, experiments=40)
    assert smallest is not None
    assert found(plan, smallest, 40) >= POWER > found(plan, smallest - 0.005, 40)
    assert smallest_difference(replace(plan, seed_deviation=0.5, accuracy=0.2), POWER, experiments=20) is None


def test_the_command_says_it_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert power.main(["--messages", "60", "--seeds", "3", "--experiments", "20"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first.startswith("60 test messages, 3 seeds, 2 strategies: a difference of ")
    assert [line.split(":")[0] for line in rest] == [
        "60 test messages, 6 seeds, 2 strategies",
        "120 test messages, 3 seeds, 2 strategies",
    ]
    assert power.main(["--seeds", "1"]) == 2
    assert capsys.readouterr().err == "error: --seeds 1: must be from 2 to 1000\n"


def test_what_a_pair_needs_is_where_its_power_is_reached() -> None:
    pair = Pair(0.03, 0.0002, 0.0004, 300, 5, 2)
    assert pair.seeds_needed() is None  # the messages alone leave too large an error
    messages = pair.messages_needed()
    assert messages is not None and pair.settled(messages, 5) and not pair.settled(messages - 100, 5)
    error = np.sqrt(0.0002 * 300 / messages + 0.0004 / 5)
    critical = stats.norm.isf((1 - LEVEL) / 2)  # the range of two equal ones is a two-sided test
    assert stats.norm.sf(critical - 0.03 / error) == pytest.approx(POWER, abs=0.02)
    calm = Pair(0.04, 0.0001, 0.0016, 300, 3, 2)
    assert (seeds := calm.seeds_needed()) is not None
    assert calm.settled(300, seeds) and not calm.settled(300, seeds - 1)
    assert Pair(0.001, 0.00001, 0.0, 300, 3, 2).settled(300, 3)  # as good, not apart
    assert not Pair(0.02, 0.0001, 0.0, 300, 3, 2).settled(300, 3)


def test_the_report_says_what_open_pairs_need_and_only_those(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, (1, 2, 3))
    summary = summarise(load_experiment(directory))
    section = settling.section(summary)
    assert section is not None and summary.best is not None
    (table,) = section.tables
    labels = [row.label for row in summary.with_verdict(Verdict.OPEN)]
    assert [row[0] for row in table.rows] == [f"{label} and {summary.best.label}" for label in labels]
    evidence, names = evidence_of(summary) or pytest.fail("there are answers")
    one, best = names.index(labels[0]), names.index(summary.best.label)
    messages, seeds = evidence.variance_parts(one, best)
    # With certainty about the seeds' variance the parts are the error of the test.
    assert np.sqrt(messages + seeds / 3) == pytest.approx(
        float(np.median(evidence._errors(np.array([one]), np.array([best])))), rel=0.15
    )


def test_looks_grow_to_the_budget_and_their_levels_add_up() -> None:
    assert look_sizes(3, 20) == (3, 6, 12, 20)
    assert look_sizes(5, 5) == (5,) and look_sizes(3, 4) == (3, 4)
    for first, most in ((2, 1000), (3, 20), (10, 11)):
        looks = look_sizes(first, most)
        assert looks[0] == first and looks[-1] == most and list(looks) == sorted(set(looks))
        assert sum(spent(looks)) == pytest.approx(1 - LEVEL) and min(spent(looks)) > 0


def test_a_look_settles_what_its_level_allows_and_nothing_later_unsettles_it() -> None:
    rng = np.random.default_rng(0)
    truth = World((0.95, 0.75, 0.95), 12, 0.005, 400).answers(rng)
    state = Sequential.planned(3, 12)
    labels = ["a", "b", "c"]
    while not state.over:
        before = state.settled
        state = state.looked(Evidence.of(list(truth[:, : state.looks[state.done]])), labels)
        assert state.settled[: len(before)] == before
    assert {(first, second) for first, second, how in state.settled if how == "apart"} == {
        ("a", "b"),
        ("b", "c"),
    }
    assert Sequential.read(state.values()) == state
    assert state.factor == pytest.approx((1 - LEVEL) / state.levels[-1])


def test_p_values_of_a_sequential_experiment_are_those_of_its_last_look(tmp_path: Path) -> None:
    experiment = load_experiment(
        write_synthetic(tmp_path / "x", (Made("a", skill=0.95), Made("b", skill=0.9)), (1, 2, 3))
    )
    plain = summarise(experiment)
    state = replace(Sequential.planned(3, 20, [("a", "b")]), done=1)
    looked = summarise(
        replace(experiment, description={**experiment.description, "sequential": state.values()})
    )
    for one, other in zip(plain.comparisons, looked.comparisons, strict=True):
        assert other.adjusted_p == pytest.approx(min(1.0, one.adjusted_p * 0.05 / state.levels[0]))
    section = settling.section(looked)
    assert section is not None and "1 of 4 looks were taken" in " ".join(section.sentences)
    assert "Still open: a and b." in section.sentences


@pytest.mark.slow
@pytest.mark.parametrize("strategies", [2, 4])
@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.03])
def test_adding_seeds_until_settled_errs_in_at_most_5_percent(strategies: int, deviation: float) -> None:
    state = Sequential.planned(3, 20)
    assert false_stops(World.equal(strategies, 20, deviation), state, 400) <= 0.05


@pytest.mark.slow
def test_peeking_with_whole_levels_would_err_more_often() -> None:
    planned = Sequential.planned(3, 20)
    peeking = replace(planned, levels=(0.05,) * len(planned.looks))
    world = World.equal(2, 20, 0.03)
    assert false_stops(world, peeking, 400) > false_stops(world, planned, 400)
