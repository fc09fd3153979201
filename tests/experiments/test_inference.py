"""Tests and intervals on arrays: against SciPy, against hand-made cases, and where they must not be fooled."""

import numpy as np
import pytest
from scipy import stats

from headtohead.experiments.inference import (
    Evidence,
    SeedSpread,
    above_share,
    half_width,
    holm,
    interval_without_answers,
    variance_scales,
    wilson_limit,
)  # fmt: skip


def runs(rng: np.random.Generator, *accuracies: float, size: int = 300) -> np.ndarray:
    """One row of 0 / 1 for each accuracy."""
    return (rng.uniform(size=(len(accuracies), size)) < np.array(accuracies)[:, None]).astype(float)


@pytest.mark.parametrize(("right", "size"), [(0, 10), (10, 10), (287, 300), (1, 3), (150, 300)])
def test_wilson_is_scipys(right: int, size: int) -> None:
    expected = stats.binomtest(right, size).proportion_ci(method="wilson")
    limits = [wilson_limit(right / size, size, 0.025, side) for side in (-1, +1)]
    assert limits == pytest.approx([expected.low, expected.high], abs=1e-12)


def test_the_books_test_set_resolves_about_two_points() -> None:
    low, high = interval_without_answers([0.96], 300)
    assert 0.018 < (high - low) / 2 < 0.026


def test_one_seed_has_wilsons_interval_and_no_claim() -> None:
    good, poor = np.ones((1, 200)), np.zeros((1, 200))
    evidence = Evidence.of([good, poor])
    assert evidence.interval(0) == (wilson_limit(1.0, 200, 0.025, -1), 1.0)
    assert np.isnan(evidence.below_best(0)).all() and np.isnan(evidence.beyond_margin(0)).all()


def test_one_seed_beside_strategies_with_several_is_not_judged() -> None:
    rng = np.random.default_rng(0)
    p_values = Evidence.of([runs(rng, *[0.9] * 5), runs(rng, 0.5), runs(rng, *[0.5] * 5)]).below_best(0)
    assert np.isnan(p_values[:2]).all() and p_values[2] < 1e-3


def test_seeds_that_answer_alike_do_not_enlarge_the_test_set() -> None:
    correct = np.tile((np.arange(100) >= 10).astype(float), (5, 1))
    expected = [wilson_limit(0.9, 100, 0.025, side) for side in (-1, +1)]
    assert Evidence.of([correct]).interval(0) == pytest.approx(expected)


def test_seeds_that_differ_widen_the_interval() -> None:
    correct = runs(np.random.default_rng(0), 0.8, 0.9, 0.97)
    low, high = Evidence.of([correct]).interval(0)
    single = [wilson_limit(float(correct.mean()), 300, 0.025, side) for side in (-1, +1)]
    assert high - low > 2 * (single[1] - single[0])
    assert interval_without_answers(list(correct.mean(axis=1)), 300)[0] == pytest.approx(low, abs=0.03)


def test_all_right_is_not_certain() -> None:
    low, high = Evidence.of([np.ones((2, 50))]).interval(0)
    assert high == 1.0 and low < 0.95


def test_nearly_all_right_beside_restless_ones_is_not_taken_for_few_messages() -> None:
    rng = np.random.default_rng(2)
    restless = [runs(rng, 0.7, 0.75, 0.8) for _ in range(5)]
    low, high = Evidence.of([*restless, runs(rng, 0.999, 0.998, 1.0)]).interval(5)
    assert 0.85 < low < 0.98 and high == 1.0


def test_seeds_of_opposite_constant_answers_say_nothing() -> None:
    rule = (np.arange(100) % 2).astype(float)
    expected = [wilson_limit(0.5, 100, 0.025, side) for side in (-1, +1)]
    assert Evidence.of([np.stack([rule, 1 - rule])]).interval(0) == pytest.approx(expected, abs=0.02)


def test_the_picked_ones_interval_reaches_lower_and_no_higher() -> None:
    evidence = Evidence.of([runs(np.random.default_rng(3), 0.9, 0.9, 0.9)])
    alone, picked = evidence.interval(0), evidence.interval(0, contenders=20)
    assert picked[0] < alone[0] - 0.005 and picked[1] == alone[1]


def test_a_fixed_difference_of_messages_is_mcnemars_test() -> None:
    first, second = np.ones((2, 400)), np.ones((2, 400))
    second[:, :30] = 0
    first[:, 30:45] = 0
    p_value = Evidence.of([first, second]).pair_p_values(np.array([0]), np.array([1]), 2)[0]
    assert p_value == pytest.approx(stats.binomtest(15, 45).pvalue, rel=0.25)


@pytest.mark.parametrize("freedom", [1, 2, 4, 40])
@pytest.mark.parametrize("tail", [0.025, 0.001])
def test_a_variance_that_is_all_uncertain_makes_students_t(freedom: int, tail: float) -> None:
    scales, weights = variance_scales(freedom)
    expected = 0.01 * stats.t.isf(tail, freedom)
    assert half_width(0.01 * np.sqrt(scales), weights, tail) == pytest.approx(expected, rel=0.05)


def test_the_range_of_all_is_tukeys_test() -> None:
    """Without any doubt about the variance the p-values are those of the studentised range with infinite freedom."""
    rng = np.random.default_rng(1)
    rows = [np.tile(runs(rng, 0.8), (2, 1)) for _ in range(5)]
    evidence = Evidence.of(rows)
    first, second = np.array([0, 1]), np.array([3, 4])
    found = evidence.pair_p_values(first, second, 5)
    for i, j, p_value in zip(first, second, found, strict=True):
        d = rows[i][0] - rows[j][0]
        error = np.sqrt(d.var(ddof=1) / 300 + 2 / 300**2)
        expected = stats.studentized_range.sf(np.sqrt(2) * abs(d.mean()) / error, 5, np.inf)
        assert p_value == pytest.approx(expected, rel=0.01)


def test_where_only_seeds_vary_it_is_students_test() -> None:
    """One message more or less hardly counts among so many: the seeds' variance is all there is."""
    size = 100_000
    shares = ((0.80, 0.84, 0.88), (0.90, 0.94, 0.98))
    rows = [np.array([(np.arange(size) < share * size) for share in each], dtype=float) for each in shares]
    evidence = Evidence.of(rows)
    found = evidence.pair_p_values(np.array([0]), np.array([1]), 2)[0]
    expected = stats.ttest_ind(*shares).pvalue
    # The answers are nested, not independent: their residual is taken from the seeds' variance and little is left
    # of it for the messages, so only the order of magnitude is that of the t test.
    assert expected / 2 < found < 2 * expected


def test_one_lucky_seed_is_not_a_difference() -> None:
    first, second = np.ones((2, 300)), np.ones((2, 300))
    second[1, :30] = 0  # 30 messages, but all from one seed
    assert Evidence.of([first, second]).below_best(0)[1] > 0.05


def test_copies_tie_and_are_as_good() -> None:
    correct = runs(np.random.default_rng(4), 0.95, 0.95, 0.95, size=2000)
    evidence = Evidence.of(
        [correct, correct.copy(), runs(np.random.default_rng(5), 0.6, 0.6, 0.6, size=2000)]
    )
    p_values = evidence.below_best(0)
    assert p_values[1] == 1.0 and p_values[2] < 1e-3
    assert evidence.beyond_margin(0)[1] < 0.05 < evidence.beyond_margin(0)[2]


def test_adjusted_p_values_never_fall_below_that_of_a_clearer_difference() -> None:
    rng = np.random.default_rng(6)
    evidence = Evidence.of([runs(rng, *[level] * 3) for level in (0.95, 0.93, 0.9, 0.85, 0.8)])
    best = int(np.argmax(evidence.means))
    others = [place for place in range(5) if place != best]
    alone = evidence.pair_p_values(np.array(others), np.full(4, best), 2)
    adjusted = evidence.below_best(best)[others]
    assert (np.diff(adjusted[np.argsort(alone)]) >= 0).all() and (adjusted >= alone - 1e-12).all()


def test_a_restless_strategy_is_judged_by_its_own_spread() -> None:
    rng = np.random.default_rng(7)
    calm = [runs(rng, 0.9, 0.9, 0.9) for _ in range(6)]
    spread = SeedSpread.of([*calm, runs(rng, 0.5, 0.75, 1.0)], [False] * 7)
    variances = spread.at(np.ones(1))[:, 0]
    assert variances[-1] == pytest.approx(0.0625, rel=0.2)
    assert spread.freedom < 2.5  # of 14: nearly all of the common variance is that of one strategy


def test_equal_spreads_are_pooled() -> None:
    rng = np.random.default_rng(8)
    levels = 0.9 + 0.03 * rng.standard_normal((20, 3))
    spread = SeedSpread.of([runs(rng, *each, size=2000) for each in levels], [False] * 20)
    assert np.sqrt(spread.at(np.ones(1))[:, 0].min()) == pytest.approx(0.03, rel=0.35)
    assert 10 < spread.freedom <= 40


def test_what_draws_nothing_has_no_spread() -> None:
    rng = np.random.default_rng(9)
    rule, trained = np.tile(runs(rng, 0.7), (3, 1)), runs(rng, 0.6, 0.75, 0.9)
    assert SeedSpread.of([rule, trained], [True, False]).at(np.ones(1))[0, 0] == 0
    assert SeedSpread.of([rule, trained], [False, False]).at(np.ones(1))[0, 0] > 0


def test_only_what_beats_the_rule_is_above_it() -> None:
    truth = np.arange(300) % 2
    rule = (truth == 0).astype(float)
    rng = np.random.default_rng(10)
    p_values = Evidence.of([runs(rng, *[0.9] * 5), np.stack([rule] * 5), runs(rng, *[0.51] * 5)]).not_above(
        rule
    )
    assert p_values[0] < 1e-6 and p_values[1] >= 0.5 and p_values[2] > 0.05


def test_the_shortfall_limit_holds_the_truth_and_shrinks_with_messages() -> None:
    limits = []
    for size in (200, 5000):
        rng = np.random.default_rng(11)
        evidence = Evidence.of([runs(rng, 0.9, 0.9, 0.9, size=size), runs(rng, 0.88, 0.88, 0.88, size=size)])
        limits.append(evidence.shortfall_limit(1, 0))
    assert 0.02 < limits[1] < 0.045 < limits[0]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_share_that_luck_explains_is_not_above() -> None:
    assert above_share(0.52, 300, 0.5) == pytest.approx(
        stats.binomtest(156, 300, 0.5, alternative="greater").pvalue
    )
    assert above_share(0.5, 300, 0.5) > 0.5 and above_share(0.6, 300, 0.5) < 0.001
