"""How often the tests err and what they find: experiments are drawn whose true accuracies are known.

    python -m headtohead.experiments.simulation            # the tables of experiments/statistics.md, some minutes
    python -m headtohead.experiments.simulation --experiments 100

Each draw goes through :class:`~headtohead.experiments.inference.Evidence` as the answers of a real experiment do.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from headtohead.experiments.inference import LEVEL, MARGIN, Evidence
from headtohead.experiments.resampling import Splits


@dataclass(frozen=True)
class World:
    """Strategies as they truly are, and how their answers come about.

    Attributes:
        accuracies: the true accuracy of each of K strategies, over all messages and seeds.
        seeds: runs of each strategy.
        seed_deviation: standard deviation of a run's accuracy around its strategy's: of all, or of each.
        messages: size of the test set.
        shared, own: which part of what makes a message easy or hard is the same for all strategies, and which for
            the runs of a strategy; the rest is chance, new for each answer.
    """

    accuracies: tuple[float, ...]
    seeds: int
    seed_deviation: float | tuple[float, ...] = 0.01
    messages: int = 300
    shared: float = 0.5
    own: float = 0.25

    @classmethod
    def equal(cls, strategies: int, seeds: int, deviation: float, accuracy: float = 0.95) -> "World":
        return cls((accuracy,) * strategies, seeds, deviation)

    @classmethod
    def with_winner(
        cls, strategies: int, seeds: int, deviation: float, lead: float, accuracy: float = 0.95
    ) -> "World":
        """One strategy ``lead`` above the others, which are equal."""
        return cls((accuracy, *(accuracy - lead,) * (strategies - 1)), seeds, deviation)

    def answers(self, rng: np.random.Generator) -> np.ndarray:
        """(K,S,N) of 0 / 1: which messages each run gets right."""
        from scipy import special

        K, S, N = len(self.accuracies), self.seeds, self.messages
        deviations = np.broadcast_to(self.seed_deviation, K)[:, None] * rng.standard_normal((K, S))
        runs = np.clip(np.array(self.accuracies)[:, None] + deviations, 0.0, 1.0)
        chance = 1 - self.shared - self.own
        difficulty = np.sqrt(self.shared) * rng.standard_normal((1, 1, N))
        difficulty = difficulty + np.sqrt(self.own) * rng.standard_normal((K, 1, N))
        difficulty = difficulty + np.sqrt(chance) * rng.standard_normal((K, S, N))
        return (difficulty < special.ndtri(runs)[:, :, None]).astype(float)


@dataclass(frozen=True)
class Rates:
    """Shares, from 0 to 1, of the experiments simulated (``found`` and ``found_as_good``: of the strategies in them).

    Attributes:
        false_below: some strategy was called below one that is no better.
        found_below: of the strategies that are truly below the highest estimate's, those that were called so.
        winner: the truly best one, and no other, was called best.
        covered: the interval of the one with the highest estimate holds its true accuracy.
        false_as_good: some strategy that is MARGIN or more below the one with the highest estimate was called as good.
        found_as_good: of those that are less than MARGIN below it, those that were called so.
    """

    false_below: float
    found_below: float
    winner: float
    covered: float
    false_as_good: float
    found_as_good: float


def simulate(world: World, experiments: int, seed: int = 0) -> Rates:
    """The rates over ``experiments`` draws of a world."""
    rng = np.random.default_rng(seed)
    return Rates(*np.mean([_outcome(world, rng) for _ in range(experiments)], axis=0))


def _outcome(world: World, rng: np.random.Generator) -> tuple[float, ...]:
    truth = np.array(world.accuracies)
    evidence = Evidence.of(list(world.answers(rng)))
    best = int(np.argmax(evidence.means))
    below = evidence.below_best(best) < 1 - LEVEL
    as_good = evidence.beyond_margin(best) < 1 - LEVEL
    low, high = evidence.interval(best, len(truth) - int(below.sum()))
    worse, far = truth < truth[best], truth <= truth[best] - MARGIN + 1e-9
    near = ~far & (np.arange(len(truth)) != best)
    winner = below.sum() == len(truth) - 1 and truth[best] == truth.max()
    return (
        float((below & ~worse).any()), _share(below, worse), float(winner), float(low <= truth[best] <= high),
        float((as_good & far).any()), _share(as_good, near),
    )  # fmt: skip


@dataclass(frozen=True)
class SplitWorld:
    """Two strategies on several splits of one pool of messages.

    Attributes:
        lead: the true accuracy of the first less that of the second, which is ``accuracy``.
        splits, seeds: of each strategy, the same for both.
        seed_deviation, split_deviation: standard deviations of a run's accuracy by its seed, and of a split's by what
            was trained on. The training messages that two splits share make the latter alike: as much of it as
            n_test / (n_test + n_train) is common to all splits of a strategy, which is what the correction assumes.
        pool, test, train: messages in all, tested and trained on.
        shared, own: as in :class:`World`; a message is as hard in every split that tests on it.
    """

    lead: float = 0.0
    accuracy: float = 0.95
    splits: int = 5
    seeds: int = 3
    seed_deviation: float = 0.01
    split_deviation: float = 0.01
    pool: int = 1494
    test: int = 300
    train: int = 1045
    shared: float = 0.5
    own: float = 0.25

    def answers(self, rng: np.random.Generator) -> list[list[np.ndarray]]:
        """Per strategy and split which messages each run gets right (S,N)."""
        from scipy import special

        shared, own = rng.standard_normal(self.pool), rng.standard_normal((2, self.pool))
        alike = self.test / (self.test + self.train)
        common = rng.standard_normal(2)
        tested = [rng.permutation(self.pool)[: self.test] for _ in range(self.splits)]
        answers: list[list[np.ndarray]] = [[], []]
        for strategy, rows in product(range(2), tested):
            split = np.sqrt(alike) * common[strategy] + np.sqrt(1 - alike) * rng.standard_normal()
            level = self.accuracy + (self.lead if strategy == 0 else 0.0) + self.split_deviation * split
            runs = np.clip(level + self.seed_deviation * rng.standard_normal(self.seeds), 0.0, 1.0)
            difficulty = np.sqrt(self.shared) * shared[rows] + np.sqrt(self.own) * own[strategy, rows]
            chance = np.sqrt(1 - self.shared - self.own) * rng.standard_normal((self.seeds, self.test))
            answers[strategy].append((difficulty + chance < special.ndtri(runs)[:, None]).astype(float))
        return answers


def simulate_splits(world: SplitWorld, experiments: int, seed: int = 0) -> tuple[float, float]:
    """The share of experiments that call the two different, by the corrected test and by a plain paired t-test."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    called = []
    for _ in range(experiments):
        evidence = Splits.of(world.answers(rng), world.test / world.train)
        plain = stats.ttest_rel(*evidence.means).pvalue
        called.append((evidence.p_value(0, 1) < 1 - LEVEL, plain < 1 - LEVEL))
    corrected, uncorrected = np.mean(called, axis=0)
    return float(corrected), float(uncorrected)


def splits_table(experiments: int) -> Iterator[str]:
    """Two strategies on 5 or 10 splits with 3 seeds: how often they are called different, by their true difference."""
    yield "| splits | seed and split deviation | equal | equal, plain t-test | 3 points | 5 points | 10 points |"
    yield "| --: | --: | --: | --: | --: | --: | --: |"
    for splits in (5, 10):
        for deviation in (0.0, 0.01, 0.024):
            world = SplitWorld(splits=splits, seed_deviation=deviation, split_deviation=deviation)
            equal, plain = simulate_splits(world, experiments)
            leads = [replace(world, lead=lead, accuracy=0.95 - lead) for lead in (0.03, 0.05, 0.1)]
            found = [simulate_splits(each, experiments)[0] for each in leads]
            shares = " | ".join(f"{100 * each:.1f} %" for each in (equal, plain, *found))
            yield f"| {splits} | {100 * deviation:g} | {shares} |"


def _share(called: np.ndarray, among: np.ndarray) -> float:
    return float(called[among].mean()) if among.any() else 0.0


def errors_table(experiments: int) -> Iterator[str]:
    """Equal strategies: how often one is called below another, and whether the best one's interval holds."""
    yield "| strategies | seeds | seed deviation | false claims | best one's interval holds |"
    yield "| --: | --: | --: | --: | --: |"
    for strategies in (2, 4, 20):
        for seeds in (3, 5, 10):
            for deviation in (0.0, 0.01, 0.024):
                rates = simulate(World.equal(strategies, seeds, deviation), experiments)
                yield _line(strategies, seeds, f"{100 * deviation:g}", rates.false_below, rates.covered)


def power_table(experiments: int) -> Iterator[str]:
    """One strategy above the others: how often each of these is found to be below it, by its lead in points."""
    yield "| strategies | seeds | seed deviation | 3 points | 5 points | 10 points | called the one best at 10 |"
    yield "| --: | --: | --: | --: | --: | --: | --: |"
    for strategies in (2, 4, 20):
        for seeds in (3, 5, 10):
            for deviation in (0.0, 0.01, 0.024):
                worlds = [World.with_winner(strategies, seeds, deviation, lead) for lead in (0.03, 0.05, 0.1)]
                rates = [simulate(world, experiments) for world in worlds]
                found = [each.found_below for each in rates]
                yield _line(strategies, seeds, f"{100 * deviation:g}", *found, rates[-1].winner)


def _line(strategies: int, seeds: int, deviation: str, *shares: float) -> str:
    return (
        f"| {strategies} | {seeds} | {deviation} | "
        + " | ".join(f"{100 * each:.1f} %" for each in shares)
        + " |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--experiments", type=int, default=400, help="draws for each line (default: %(default)s)"
    )
    experiments = parser.parse_args(arguments).experiments
    for table in (errors_table, power_table, splits_table):
        print((table.__doc__ or "") + "\n")
        for line in table(experiments):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
