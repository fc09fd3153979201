"""What several splits allow to be said, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats

from headtohead.experiments.inference import LEVEL
from headtohead.experiments.resampling import Splits, chance_above


def some(rng: np.random.Generator) -> Splits:
    return Splits(rng.uniform(0.8, 0.9, size=(3, 5)), overlap=300 / 1045)


def test_without_overlap_it_is_a_paired_t_test() -> None:
    means = some(np.random.default_rng(0)).means
    expected = stats.ttest_rel(means[0], means[1]).pvalue
    assert Splits(means, 0.0).p_value(0, 1) == pytest.approx(expected, rel=1e-6)


def test_the_correction_widens_by_the_overlap() -> None:
    splits = some(np.random.default_rng(1))
    plain = Splits(splits.means, 0.0)
    low, high = splits.interval(0)
    narrow = plain.interval(0)
    assert (high - low) / (narrow[1] - narrow[0]) == pytest.approx(np.sqrt((1 / 5 + 300 / 1045) * 5))
    middle, sd = splits.means[0].mean(), splits.means[0].std(ddof=1)
    assert narrow == pytest.approx(stats.t.interval(LEVEL, 4, middle, sd / np.sqrt(5)))
    assert splits.p_value(0, 1, among=3) > splits.p_value(0, 1) > plain.p_value(0, 1)


def test_what_never_differs_is_a_tie() -> None:
    assert Splits(np.full((2, 4), 0.9), 0.3).p_value(0, 1) == 1.0


def test_the_chance_to_be_above_counts_runs_and_half_of_the_ties() -> None:
    first = [np.array([0.9, 0.8]), np.array([0.9, 0.9])]
    second = [np.array([0.8, 0.8]), np.array([0.8, 1.0])]
    share, low, high = chance_above(first, second)
    assert share == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert low <= share <= high
    assert chance_above(first, first)[0] == 0.5
