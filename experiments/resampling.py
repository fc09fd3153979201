"""What several splits of the same messages allow to be said: tests and intervals on arrays.

Each split gives every strategy a mean accuracy, over its own test messages and over the seeds. How these means vary
from split to split holds all that varies: messages, seeds, and which messages were trained on. But the splits share
messages, above all of training, so their means are more alike than independent ones, and the plain variance of a mean
over P splits is too small. Nadeau and Bengio (2003, Inference for the generalization error, Machine Learning 52) put
1 / P + n_test / n_train in the place of 1 / P; Student's t with P - 1 degrees of freedom then errs little, where the
plain one calls equal methods different in far more than one of twenty experiments (``experiments/simulation.py``).
Where K strategies are compared, the range of K means takes the place of a difference (Tukey 1953), so that all pairs
hold together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headtohead.experiments.inference import LEVEL, Array, Interval

DRAWS = 2000  # of the bootstrap


@dataclass(frozen=True)
class Splits:
    """Mean accuracies of K strategies on P splits, each over its seeds and test messages.

    Attributes:
        means: (K,P).
        overlap: n_test / n_train.
    """

    means: Array
    overlap: float

    @classmethod
    def of(cls, correct: Sequence[Sequence[Array]], overlap: float) -> "Splits":
        """From one (S,N) of 0 / 1 per strategy and split; the messages of two splits may differ."""
        return cls(np.array([[float(each.mean()) for each in own] for own in correct]), overlap)

    @property
    def freedom(self) -> int:
        return self.means.shape[1] - 1

    @property
    def factor(self) -> float:
        """The variance of a mean over the splits, as a multiple of the variance between them."""
        return 1 / self.means.shape[1] + self.overlap

    @cached_property
    def over_all(self) -> Array:
        """(K,) means over the splits."""
        return self.means.mean(axis=1)

    def p_value(self, first: int, second: int, among: int = 2) -> float:
        """Two-sided p-value that two strategies are equally accurate; ``among`` K it holds for all pairs of K."""
        from scipy import stats

        differences = self.means[first] - self.means[second]
        error = float(np.sqrt(self.factor * differences.var(ddof=1)))
        if (
            error < 1e-12
        ):  # alike in every split, or different by the same in every one: nothing to measure it by
            return 1.0
        ratio = np.sqrt(2) * abs(float(differences.mean())) / error
        return float(stats.studentized_range.sf(ratio, among, self.freedom))

    def interval(self, strategy: int) -> Interval:
        """The LEVEL interval of a strategy's accuracy, over splits, seeds and messages."""
        from scipy import stats

        error = np.sqrt(self.factor * self.means[strategy].var(ddof=1))
        half = float(stats.t.ppf(1 - (1 - LEVEL) / 2, self.freedom) * error)
        middle = float(self.over_all[strategy])
        return max(middle - half, 0.0), min(middle + half, 1.0)


def chance_above(
    first: Sequence[Array], second: Sequence[Array], seed: int = 0
) -> tuple[float, float, float]:
    """P(A > B): how often a run of A is above that of B with the same split and seed, a tie counting as half.

    Bouthillier et al. (2021), Accounting for variance in machine learning benchmarks, arXiv:2103.03098. The limits
    are those of a percentile bootstrap over the splits, each with all of its runs.

    Args:
        first, second: per split the accuracies of the runs (S,), in the same order of seeds.
        seed: of the bootstrap.

    Returns:
        The share, and its lower and upper limit at LEVEL.
    """
    wins = np.array(
        [float((np.sign(one - other) / 2 + 0.5).mean()) for one, other in zip(first, second, strict=True)]
    )
    drawn = np.random.default_rng(seed).integers(len(wins), size=(DRAWS, len(wins)))
    low, high = np.quantile(wins[drawn].mean(axis=1), [(1 - LEVEL) / 2, 1 - (1 - LEVEL) / 2])
    return float(wins.mean()), float(low), float(high)
