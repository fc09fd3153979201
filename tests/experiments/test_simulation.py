"""The tests hold what they promise: false claims, power and intervals in simulated experiments (slow)."""

import numpy as np
import pytest
from scipy import stats

from headtohead.experiments.inference import MARGIN
from headtohead.experiments.simulation import SplitWorld, World, main, simulate, simulate_splits

EXPERIMENTS = {2: 600, 4: 500, 20: 250}  # fewer of the large ones, where the error is far from its limit


def at_most(share: float, limit: float, experiments: int) -> bool:
    """Whether ``share`` of the experiments may have come about where ``limit`` is the true one."""
    return stats.binom.sf(round(share * experiments) - 1, experiments, limit) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.024])
@pytest.mark.parametrize("seeds", [1, 3, 5, 10])
@pytest.mark.parametrize("strategies", [2, 4, 20])
def test_equal_strategies_are_called_different_in_at_most_one_of_twenty(
    strategies: int, seeds: int, deviation: float
) -> None:
    count = EXPERIMENTS[strategies]
    rates = simulate(World.equal(strategies, seeds, deviation), count)
    assert rates.false_below <= 0.05
    assert rates.winner <= rates.false_below
    if seeds == 1:
        assert rates.false_below == 0  # one seed claims nothing; its interval is of the trained model alone
    else:
        assert rates.covered >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("messages", [300, 1500])
@pytest.mark.parametrize("strategies", [4, 20])
@pytest.mark.parametrize("restless", ["one", "a quarter", "half"])
def test_strategies_that_vary_unequally_are_not_called_different(
    strategies: int, messages: int, restless: str
) -> None:
    """Some vary by five points from seed to seed, the others by a third of one: pooling must not hide it."""
    many = {"one": 1, "a quarter": strategies // 4, "half": strategies // 2}[restless]
    deviations = (0.05,) * many + (0.003,) * (strategies - many)
    world = World((0.85,) * strategies, 3, deviations, messages, shared=0.6, own=0.2)
    rates = simulate(world, 300)
    assert at_most(rates.false_below, 0.05, 300)
    assert rates.covered >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(("shared", "own"), [(0.0, 0.0), (0.9, 0.05), (0.0, 1.0)])
@pytest.mark.parametrize("strategies", [2, 20])
def test_it_does_not_matter_what_makes_messages_hard(strategies: int, shared: float, own: float) -> None:
    world = World((0.9,) * strategies, 3, 0.01, shared=shared, own=own)
    rates = simulate(world, 300)
    assert at_most(rates.false_below, 0.05, 300)
    assert rates.covered >= 0.93


@pytest.mark.slow
@pytest.mark.parametrize(("strategies", "seeds"), [(2, 3), (4, 3), (20, 3), (20, 5)])
def test_a_winner_by_ten_points_is_found(strategies: int, seeds: int) -> None:
    rates = simulate(World.with_winner(strategies, seeds, 0.01, lead=0.1), 100)
    assert rates.winner >= 0.9
    assert rates.false_below <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 10])
def test_what_is_a_margin_below_is_not_called_as_good(seeds: int) -> None:
    """The worst case: all others are exactly a margin below the best."""
    world = World.with_winner(10, seeds, 0.003, lead=MARGIN)
    assert at_most(simulate(world, 300).false_as_good, 0.05, 300)


@pytest.mark.slow
def test_equal_strategies_are_called_as_good_once_there_are_enough_messages() -> None:
    few, many = (
        simulate(World((0.95,) * 4, 5, 0.003, messages), 60).found_as_good for messages in (300, 5000)
    )
    assert few < 0.5 < 0.9 < many


def test_worlds_have_the_accuracies_they_state() -> None:
    world = World((0.95, 0.85), 3, 0.02, messages=2000)
    rng = np.random.default_rng(0)
    answers = np.mean([world.answers(rng) for _ in range(30)], axis=0)
    assert answers.shape == (2, 3, 2000)
    assert answers.mean(axis=(1, 2)) == pytest.approx([0.95, 0.85], abs=0.01)


def test_the_tables_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--experiments", "1"])
    printed = capsys.readouterr().out
    assert printed.count("\n| ") == 2 * (2 + 27) + 2 + 6


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.024])
@pytest.mark.parametrize(("shared", "own"), [(0.5, 0.25), (0.0, 0.0), (0.2, 0.7)])
def test_two_copies_on_five_splits_and_three_seeds_come_out_as_a_tie(
    deviation: float, shared: float, own: float
) -> None:
    world = SplitWorld(seed_deviation=deviation, split_deviation=deviation, shared=shared, own=own)
    called, _ = simulate_splits(world, 600)
    assert called <= 0.05


@pytest.mark.slow
def test_a_plain_t_test_over_splits_errs_more_often_and_a_winner_is_found() -> None:
    corrected, plain = simulate_splits(SplitWorld(own=0.5, shared=0.4), 600)
    assert corrected <= 0.05 < plain
    found, _ = simulate_splits(SplitWorld(lead=0.1, accuracy=0.85), 100)
    assert found >= 0.9
