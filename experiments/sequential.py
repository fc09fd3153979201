"""Adding seeds until pairs are settled, without peeking: looks planned beforehand, each with its share of the error.

Whoever tests after every few seeds and stops at the first significant difference errs far more often than the 5 % of
each test. Here the looks are fixed before the first run, and the error is spent over them by a spending function of
the share of seeds that are done (Lan and DeMets 1983, Biometrika 70; the one that spends like Pocock's bounds). The
usual bounds from a spending function take for granted that what is new at a look is independent of what came before.
Here it is not: the same test messages count at every look. So each look is tested at what the function newly gives it,
which by Bonferroni's inequality holds whatever the looks have in common; it costs a little power.

What a report then claims is what the last look allows: its p-values are multiplied by 0.05 / that look's level.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import e, log
from typing import Any

import numpy as np

from headtohead.core.errors import InputError
from headtohead.experiments.inference import LEVEL, MARGIN, Evidence
from headtohead.experiments.simulation import World

GROWTH = 2  # how many times as many seeds the next look has


@dataclass(frozen=True)
class Sequential:
    """A sequential experiment as planned, and how far it has come.

    Attributes:
        looks: seeds of each strategy at each look, rising; the last is the budget.
        levels: the significance level of each look; they add up to 1 - LEVEL.
        pairs: the labels that are to be settled against each other; none for all pairs.
        done: looks taken.
        settled: pairs that were settled at a look, with how.
    """

    looks: tuple[int, ...]
    levels: tuple[float, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    done: int = 0
    settled: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def planned(cls, first: int, most: int, pairs: Sequence[tuple[str, str]] = ()) -> "Sequential":
        """The looks from ``first`` to ``most`` seeds."""
        looks = look_sizes(first, most)
        return cls(looks, spent(looks), tuple(pairs))

    @classmethod
    def read(cls, values: dict[str, Any]) -> "Sequential":
        """From what :meth:`values` gave, after JSON.

        Raises:
            InputError: looks, levels and pairs that :meth:`planned` does not make.
        """
        looks, levels = tuple(values["looks"]), tuple(values["levels"])
        pairs, settled = values["pairs"], values["settled"]
        fits = len(looks) == len(levels) and min(levels, default=0) > 0 and 0 <= values["done"] <= len(looks)
        if not fits or {len(pair) for pair in pairs} - {2} or {len(pair) for pair in settled} - {3}:
            raise InputError(
                "experiment.json, sequential: looks and levels do not fit; run the experiment again."
            )
        return cls(
            looks,
            levels,
            tuple((first, second) for first, second in pairs),
            values["done"],
            tuple((first, second, how) for first, second, how in settled),
        )

    def values(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @property
    def over(self) -> bool:
        """Whether no look is left."""
        return self.done == len(self.looks)

    def is_settled(self, one: str, other: str) -> bool:
        """Whether two labels were settled at some look."""
        return any({one, other} == {first, second} for first, second, _ in self.settled)

    def wanted(self, labels: Sequence[str]) -> list[tuple[str, str]]:
        """The pairs to be settled among the strategies ``labels``."""
        return list(self.pairs or combinations(labels, 2))

    def looked(self, evidence: Evidence, labels: Sequence[str]) -> "Sequential":
        """After the next look, at the answers of the strategies ``labels``."""
        this = replace(self, done=self.done + 1)
        places = {label: place for place, label in enumerate(labels)}
        open_pairs = [
            pair for pair in self.wanted(labels) if not self.is_settled(*pair) and set(pair) <= set(places)
        ]
        if not open_pairs:
            return this
        numbers = [(places[first], places[second]) for first, second in open_pairs]
        said = verdicts(evidence, numbers, this.level, len(self.wanted(labels)))
        new = tuple((*pair, how) for pair, how in zip(open_pairs, said, strict=True) if how is not None)
        return replace(this, settled=(*self.settled, *new))

    @property
    def level(self) -> float:
        """Of the last look taken; of the first before any."""
        return self.levels[max(self.done - 1, 0)]

    @property
    def factor(self) -> float:
        """By which p-values of the last look are to be multiplied to be held against 1 - LEVEL."""
        return (1 - LEVEL) / self.level


def look_sizes(first: int, most: int) -> tuple[int, ...]:
    """Seeds at each look: each has GROWTH times as many as the one before, the last has ``most``."""
    sizes = [min(first, most)]
    while sizes[-1] < most:
        grown = max(sizes[-1] + 1, round(GROWTH * sizes[-1]))
        # A last look that would add hardly anything is one with the look before it.
        sizes.append(most if grown >= most or most / grown < (1 + GROWTH) / 2 else grown)
    return tuple(sizes)


def spent(looks: Sequence[int]) -> tuple[float, ...]:
    """What each look newly spends of 1 - LEVEL: increments of alpha * log(1 + (e - 1) * share of the seeds)."""
    totals = [(1 - LEVEL) * log(1 + (e - 1) * look / looks[-1]) for look in looks]
    return tuple(float(each) for each in np.diff([0.0, *totals]))


def verdicts(
    evidence: Evidence, pairs: Sequence[tuple[int, int]], level: float, wanted: int
) -> list[str | None]:
    """For each pair of strategies "apart", "as good" (within MARGIN either way) or None, at one look.

    Differences are corrected for all pairs of all strategies (the range test), equivalence for the ``wanted`` pairs
    (Bonferroni; two one-sided tests, Schuirmann 1987).
    """
    first, second = np.array(pairs).T
    tested = evidence.testable[first] & evidence.testable[second]
    apart = evidence.pair_p_values(first, second, len(evidence.means)) < level
    alike = evidence.within_margin(first, second, MARGIN) * wanted < level
    return [
        None if not known else "apart" if one else "as good" if other else None
        for known, one, other in zip(tested, apart, alike, strict=True)
    ]


def false_stops(world: World, sequential: Sequential, experiments: int, seed: int = 0) -> float:
    """The share of simulated experiments in which some look calls two equally accurate strategies apart.

    ``world`` has as many seeds as the last look.
    """
    rng = np.random.default_rng(seed)
    return float(np.mean([_errs(world, sequential, rng) for _ in range(experiments)]))


def _errs(world: World, sequential: Sequential, rng: np.random.Generator) -> bool:
    answers, truth = world.answers(rng), world.accuracies
    labels = [str(place) for place in range(len(truth))]
    state = sequential
    while not state.over and len(state.settled) < len(state.wanted(labels)):
        state = state.looked(Evidence.of(list(answers[:, : state.looks[state.done]])), labels)
    apart = [pair for *pair, how in state.settled if how == "apart"]
    return any(truth[int(first)] == truth[int(second)] for first, second in apart)
