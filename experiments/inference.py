"""What the answers of several classifiers on the same test messages allow to be said: tests and intervals on arrays.

The accuracy of a strategy is that over all messages and all seeds. Each run shows it with two errors: those of the
messages, which all runs share, and those of the seed. Messages and seeds are crossed random effects; the variance
of a mean over S seeds and N messages is ``messages + seeds / S``.

- **Messages**: the variance over the messages of the mean over the seeds, divided by N; for two strategies that of
  their difference, message by message, with one message added to either side, so that a handful of messages on which
  they differ is not taken for more than it is (Bonett and Price 2012, J. Educ. Behav. Statistics 37).
- **Seeds**: the variance over the seeds of the accuracy on these messages, less what the messages' own noise adds to
  it (the residual of a two-way analysis of variance). Three seeds say next to nothing of it, twenty strategies with
  three seeds each say a lot: it is pooled over the strategies (:class:`SeedSpread`).
- **How uncertain the seeds' variance is** goes into every p-value: the normal tail is averaged over the chi-squared
  distribution of that variance alone, as Student's t does for a whole variance (the fiducial argument of Behrens and
  Fisher). One number of degrees of freedom for messages and seeds together (Satterthwaite 1946) is too generous where
  it matters, far out in the tail: with twenty equal strategies of three seeds it called some worse than the best in
  19 % of experiments.
- **The best is picked by the same numbers.** Comparing each with it is comparing the largest with the others of K: the
  right yardstick is the range of K values (Tukey 1953; Kramer 1956 for unequal variances), not K - 1 comparisons with
  something fixed beforehand (Dunnett 1955), nor Hsu's (1984) comparison with the best, which by design says of equal
  strategies that all but one are "not better". It is taken step by step: once the clearest difference is accepted, the
  range of those that are left counts, as Holm (1979) does for single p-values.

``python -m headtohead.experiments.simulation`` shows how often this errs and what it finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

LEVEL = 0.95  # of every interval; 1 - LEVEL is the significance level of every test
MARGIN = 0.02  # of accuracy: what is no further below the best counts as good as it
NODES = 40  # of the average over the seeds' variance
Interval = tuple[float, float]
Array = np.ndarray


@dataclass(frozen=True)
class SeedSpread:
    """How much accuracies vary from seed to seed, pooled over K strategies.

    A strategy's own variance is used where it exceeds the common one, so that a restless strategy is not judged by
    calm ones. The common one is the larger of the mean and the mean weighted by the variances themselves, corrected
    so that both agree where all strategies vary alike; where few vary much, the second is near theirs.

    Attributes:
        own: (K,) variance of the accuracy over a strategy's seeds; 0 where it has one seed.
        noise: (K,) what the noise of single answers adds to ``own``.
        common, common_noise: the same of all strategies that have several seeds and do not answer alike at each.
        freedom: degrees of freedom of ``common`` (Satterthwaite 1946): fewer where few strategies make up most of it;
            0 where nothing is known.
        fixed: (K,) strategies without anything that a seed could change: none is assumed to.
    """

    own: Array
    noise: Array
    common: float
    common_noise: float
    freedom: float
    fixed: Array

    @classmethod
    def of(cls, correct: Sequence[Array], fixed: Sequence[bool]) -> "SeedSpread":
        """From one (S,N) of 0 / 1 per strategy; S may differ."""
        own = np.array([each.mean(axis=1).var(ddof=1) if len(each) > 1 else 0.0 for each in correct])
        noise = np.array([_answer_noise(each) if len(each) > 1 else 0.0 for each in correct])
        live = np.array([bool((each != each[:1]).any()) for each in correct])
        if not live.any():
            return cls(own, noise, 0.0, 0.0, 0.0, np.array(fixed))
        degrees, variances = np.array([len(each) - 1 for each in correct])[live], own[live]
        total, squares = float(degrees.sum()), float(degrees @ variances**2)
        mean = float(degrees @ variances) / total
        shrink = total / float((degrees + 2).sum())  # E[variance^2] = (1 + 2 / degrees) * true variance^2
        common, freedom = mean, total
        if squares > 0:
            common = max(mean, shrink * squares / (total * mean))
            freedom = (total * mean) ** 2 / squares
        return cls(own, noise, common, float(degrees @ noise[live]) / total, freedom, np.array(fixed))

    def at(self, scales: Array) -> Array:
        """(K,U) variance of one run's accuracy by its seed, were the true variance ``scales`` (U,) times as large."""
        own = self.own[:, None] * scales - self.noise[:, None]
        common = self.common * scales - self.common_noise
        return np.where(self.fixed[:, None], 0.0, np.maximum(np.maximum(own, common), 0.0))


def _answer_noise(correct: Array) -> float:
    """What the residual of a two-way analysis of variance of (S,N) adds to the variance of a seed's mean."""
    S, N = correct.shape
    residual = correct - correct.mean(axis=1, keepdims=True) - correct.mean(axis=0) + correct.mean()
    return float((residual**2).sum()) / ((S - 1) * (N - 1)) / N


@dataclass(frozen=True)
class Evidence:
    """The answers of K strategies on the same N messages, and what follows from them.

    A strategy with one seed shows its trained model only: ``testable`` is false and nothing is claimed of it.
    """

    by_message: Array  # (K,N) share of the seeds that were right
    seeds: Array  # (K,) number of runs
    spread: SeedSpread

    @classmethod
    def of(cls, correct: Sequence[Array], fixed: Sequence[bool] | None = None) -> "Evidence":
        """From one (S,N) of 0 / 1 per strategy: S seeds, which may differ in number, on the same N messages.

        ``fixed`` (K,) says which strategies draw nothing at random, so that a seed cannot change them.
        """
        return cls(
            np.stack([each.mean(axis=0) for each in correct]),
            np.array([len(each) for each in correct]),
            SeedSpread.of(correct, fixed or [False] * len(correct)),
        )

    @property
    def testable(self) -> Array:
        return self.seeds > 1

    @cached_property
    def means(self) -> Array:
        return self.by_message.mean(axis=1)

    @cached_property
    def _scales(self) -> tuple[Array, Array]:
        return variance_scales(self.spread.freedom)

    @cached_property
    def _seed_parts(self) -> Array:
        """(K,U) the seeds' part of the variance of each mean."""
        return self.spread.at(self._scales[0]) / self.seeds[:, None]

    @cached_property
    def _products(self) -> Array:
        return self.by_message @ self.by_message.T

    def pair_p_values(self, first: Array, second: Array, among: int) -> Array:
        """(P,) two-sided p-values that strategies ``first`` (P,) and ``second`` (P,) are equally accurate.

        Each is the chance that ``among`` equal strategies differ that much anywhere: with 2 that of a single pair,
        with K it holds for all pairs of K at once.
        """
        difference = np.abs(self.means[first] - self.means[second])
        ratios = np.sqrt(2) * difference[:, None] / self._errors(first, second)
        return np.minimum(_range_tail(ratios, among) @ self._scales[1], 1.0)

    def within_margin(self, first: Array, second: Array, margin: float = MARGIN) -> Array:
        """(P,) p-values that two strategies are ``margin`` or more apart, in either direction, not corrected.

        The larger of two one-sided tests (Schuirmann 1987).
        """
        room = margin - np.abs(self.means[first] - self.means[second])
        return _normal_tail(room[:, None] / self._errors(first, second)) @ self._scales[1]

    def variance_parts(self, first: int, second: int) -> tuple[float, float]:
        """The variance of the difference of two means: the messages' part, and what one run of each adds."""
        pair = np.array([first]), np.array([second])
        one_run = self.spread.at(np.ones(1))[[first, second], 0]
        everything = float(self._pair_messages(*pair)[0])
        return everything, float(one_run.sum())

    def below_best(self, best: int) -> Array:
        """(K,) adjusted p-values that each is as accurate as ``best``, the highest of all; NaN for what is not tested.

        Step by step: the clearest difference is held against the range of all that are tested, the next against that
        of those left, and none may be smaller than the one before.
        """
        others, adjusted = self._others(best), np.full(len(self.means), np.nan)
        order = others[np.argsort(self.pair_p_values(others, np.full_like(others, best), 2), kind="stable")]
        largest = 0.0
        for done, other in enumerate(order):
            left = len(order) + 1 - done
            p_value = self.pair_p_values(np.array([other]), np.array([best]), left)[0]
            adjusted[other] = largest = max(largest, float(p_value))
        return adjusted

    def beyond_margin(self, best: int, margin: float = MARGIN) -> Array:
        """(K,) adjusted p-values that each is ``margin`` or more below ``best``; small ones say: as good as it.

        One side of the two one-sided tests for equivalence (Schuirmann 1987), for all strategies at once after Holm.
        That the best was picked makes it look better than it is, and so this test more cautious.
        """
        others = self._others(best)
        room = margin - (self.means[best] - self.means[others])
        errors = self._errors(others, np.full_like(others, best))
        return self._adjusted(others, _normal_tail(room[:, None] / errors) @ self._scales[1])

    def not_above(self, answers: Array) -> Array:
        """(K,) adjusted p-values that each is at most as accurate as fixed ``answers`` (N,) of 0 / 1, after Holm.

        For one with a single seed it speaks of the trained model only.
        """
        differences = self.by_message - answers
        means = differences.mean(axis=1)
        messages = _message_variance((differences**2).sum(axis=1), means, len(answers))
        ratios = means[:, None] / np.sqrt(messages[:, None] + self._seed_parts)
        return self._adjusted(np.arange(len(self.means)), _normal_tail(ratios) @ self._scales[1])

    def shortfall_limit(self, other: int, best: int) -> float:
        """How far below ``best`` the accuracy of ``other`` may be at most: a one-sided limit at LEVEL."""
        errors = self._errors(np.array([other]), np.array([best]))[0]
        return float(self.means[best] - self.means[other]) + half_width(errors, self._scales[1], 1 - LEVEL)

    def interval(self, strategy: int, contenders: int = 1) -> Interval:
        """The LEVEL interval of a strategy's accuracy: Wilson's for the messages, widened by what seeds add.

        Squares of the distances to the mean are added, those of the messages and that of the seeds, for either limit
        on its own: it stays skewed near 0 and 1. The messages count as N of a single run, so more seeds never make the
        test set look larger than it is. That of a single seed, if no strategy has several, is Wilson's: it speaks of
        the trained model only.

        For the highest of ``contenders`` strategies, picked by the same answers, the lower limit is taken at
        (1 - LEVEL) / 2 / contenders: no strategy's estimate exceeds its accuracy by more, so neither does the picked
        one's. The upper limit needs no correction: the highest estimate is at least that of the truly best one.
        Source: Zou and Donner 2008 (Statistics in Medicine 27) for the sum of squares; for the correction the
        projection of Andrews, Kitagawa and McCloskey 2024 (Inference on winners, Quarterly J. of Economics 139),
        one-sided after Bonferroni.
        """
        errors, weights, tail = np.sqrt(self._seed_parts[strategy]), self._scales[1], (1 - LEVEL) / 2
        mean, size = float(self.means[strategy]), self.by_message.shape[1]
        low = accuracy_limit(
            mean, size, half_width(errors, weights, tail / contenders), tail / contenders, -1
        )
        return low, accuracy_limit(mean, size, half_width(errors, weights, tail), tail, +1)

    def _errors(self, first: Array, second: Array) -> Array:
        """(P,U) standard errors of the difference of the means of ``first`` and ``second``."""
        messages = self._pair_messages(first, second)
        return np.sqrt(messages[:, None] + self._seed_parts[first] + self._seed_parts[second])

    def _pair_messages(self, first: Array, second: Array) -> Array:
        """(P,) the messages' part of the variance of the difference of two means."""
        squares = (
            self._products[first, first] + self._products[second, second] - 2 * self._products[first, second]
        )
        return _message_variance(squares, self.means[first] - self.means[second], self.by_message.shape[1])

    def _others(self, best: int) -> Array:
        """Those that may be compared with ``best``; none where it has one seed only."""
        others = np.flatnonzero(self.testable & (np.arange(len(self.means)) != best))
        return others if self.testable[best] else others[:0]

    def _adjusted(self, strategies: Array, p_values: Array) -> Array:
        adjusted = np.full(len(self.means), np.nan)
        adjusted[strategies] = holm(list(p_values))
        return adjusted


def half_width(errors: Array, weights: Array, tail: float) -> float:
    """What a normal error exceeds with probability ``tail`` if its standard error is ``errors`` (U,) by ``weights``."""
    from scipy import optimize

    most = float(errors.max())
    if most < 1e-9:  # nothing, or what rounding left of it
        return 0.0
    above_zero = np.maximum(errors, 1e-12)  # where there is no error, no width exceeds it
    return float(
        optimize.brentq(lambda width: _normal_tail(width / above_zero) @ weights - tail, 0, 9 * most)
    )


def accuracy_limit(mean: float, size: int, seeds: float, tail: float, side: int) -> float:
    """The lower (``side`` -1) or upper (+1) limit: that for ``size`` messages, widened by ``seeds``."""
    messages = wilson_limit(mean, size, tail, side) - mean
    return min(max(mean + side * float(np.hypot(messages, seeds)), 0.0), 1.0)


def interval_without_answers(accuracies: Sequence[float], size: int) -> Interval:
    """As :meth:`Evidence.interval` of a strategy of which only the accuracies over the seeds are known."""
    mean, tail = float(np.mean(accuracies)), (1 - LEVEL) / 2
    seeds = 0.0
    if len(accuracies) > 1:
        scales, weights = variance_scales(len(accuracies) - 1)
        seeds = half_width(np.sqrt(np.var(accuracies, ddof=1) / len(accuracies) * scales), weights, tail)
    return accuracy_limit(mean, size, seeds, tail, -1), accuracy_limit(mean, size, seeds, tail, +1)


def wilson_limit(accuracy: float, size: float, tail: float, side: int) -> float:
    """One end of Wilson's score interval for a proportion observed on ``size`` messages: lower (-1) or upper (+1).

    ``size`` may be fractional (an effective sample size). For whole counts both ends at ``tail`` (1 - LEVEL) / 2 are
    ``scipy.stats.binomtest(k, n).proportion_ci(method="wilson")``.
    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    z = normal_quantile(tail)
    centre = (accuracy + z**2 / (2 * size)) / (1 + z**2 / size)
    half = z / (1 + z**2 / size) * np.sqrt(accuracy * (1 - accuracy) / size + z**2 / (4 * size**2))
    return min(max(float(centre + side * half), 0.0), 1.0)


def above_share(accuracy: float, size: int, share: float) -> float:
    """One-sided exact binomial p-value that ``accuracy`` on ``size`` messages is no more than ``share``."""
    from scipy import stats

    return float(stats.binomtest(round(accuracy * size), size, share, alternative="greater").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, float((len(p_values) - rank) * p_values[index])))
        adjusted[index] = largest
    return adjusted


def _message_variance(squares: Array, means: Array, size: int) -> Array:
    """Variance of the mean difference over messages from (P,) sums of squares, a message added to either side."""
    return (squares - size * means**2) / (size * (size - 1)) + 2 / size**2


@lru_cache
def variance_scales(freedom: float) -> tuple[Array, Array]:
    """By how much a true variance may exceed its estimate of ``freedom`` degrees, and with which weights; both (U,).

    Gauss-Legendre over the normal quantile, which reaches far into either tail. 0 degrees: nothing is uncertain.
    """
    from scipy import stats

    if not freedom:
        return np.ones(1), np.ones(1)
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    quantiles = 7 * nodes
    weights = weights * stats.norm.pdf(quantiles)
    return freedom / stats.chi2.ppf(stats.norm.cdf(quantiles), freedom), weights / weights.sum()


def _range_tail(ratios: Array, among: int) -> Array:
    """P(the range of ``among`` standard normal values exceeds ``ratios``), read from a table."""
    grid, logarithms = _range_table(among)
    return np.exp(np.interp(ratios, grid, logarithms))


@lru_cache
def _range_table(among: int) -> tuple[Array, Array]:
    from scipy import stats

    grid = np.linspace(0, 12, 121)
    tail = stats.studentized_range.sf(grid, among, np.inf)
    return grid, np.log(np.clip(tail, 1e-12, 1.0))


def _normal_tail(ratios: Array) -> Array:
    from scipy import special

    return np.asarray(special.ndtr(-ratios))


def normal_quantile(tail: float) -> float:
    from scipy import special

    return float(-special.ndtri(tail))
