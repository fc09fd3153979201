"""How sure an experiment can be before it is run, and what would settle a pair that is open after it.

    python -m headtohead.experiments.power --messages 300 --seeds 5
    python -m headtohead.experiments.power --messages 300 --seeds 5 --strategies 4 --seed-deviation 1.7 --accuracy 80

The command draws experiments whose true accuracies are known and tests them as a real one is tested
(:mod:`headtohead.experiments.simulation`). What is said of a report's pairs comes from their own spread, in closed
form.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from headtohead.core.errors import InputError, command
from headtohead.experiments.inference import LEVEL, MARGIN, normal_quantile
from headtohead.experiments.simulation import World, simulate

POWER = 0.8  # how often a difference is to be found
MOST_SEEDS, MOST_MESSAGES = 200, 100_000  # more than these is not proposed


# --- before ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """An experiment to be: as :class:`~headtohead.experiments.simulation.World`, all strategies but one equal."""

    messages: int = 300
    seeds: int = 5
    strategies: int = 2
    accuracy: float = 0.95
    seed_deviation: float = 0.01

    def world(self, lead: float) -> World:
        """One strategy ``lead`` above the others."""
        world = World.with_winner(self.strategies, self.seeds, self.seed_deviation, lead, self.accuracy)
        return replace(world, messages=self.messages)


def found(plan: Plan, lead: float, experiments: int) -> float:
    """The share of the others that is found to be below one that is ``lead`` above them."""
    return simulate(plan.world(lead), experiments).found_below


def smallest_difference(plan: Plan, power: float = POWER, experiments: int = 200) -> float | None:
    """The smallest lead, in steps of half a message, that is found with ``power``; None where not even 0 is far enough.

    Every lead is tried on the same draws, so that a larger one is found at least as often but for rounding.
    """
    step = 0.5 / plan.messages
    low, high = 0, int(plan.accuracy / step)  # steps: found too rarely, found often enough
    if found(plan, high * step, experiments) < power:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if found(plan, middle * step, experiments) < power:
            low = middle
        else:
            high = middle
    return high * step


# --- after -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two strategies as an experiment has seen them.

    Attributes:
        difference: of their accuracies.
        messages_variance: of the difference, by the messages.
        seeds_variance: what a single run of each would add by its seed.
        messages, seeds: how many there were.
        among: of how many strategies the pair is one, for which the test is corrected.
    """

    difference: float
    messages_variance: float
    seeds_variance: float
    messages: int
    seeds: int
    among: int

    def error(self, messages: int, seeds: int) -> float:
        """The standard error of the difference with that many."""
        return float(np.sqrt(self.messages_variance * self.messages / messages + self.seeds_variance / seeds))

    def settled(self, messages: int, seeds: int) -> bool:
        """Whether the pair would be told apart, or called as good, with POWER, were the difference what was seen."""
        error, power = self.error(messages, seeds), normal_quantile(1 - POWER)
        apart = abs(self.difference) >= (_range_quantile(self.among) + power) * error
        one_side = normal_quantile((1 - LEVEL) / max(self.among - 1, 1))
        return apart or MARGIN - abs(self.difference) >= (one_side + power) * error

    def seeds_needed(self) -> int | None:
        """With the messages that there are; None where no number up to MOST_SEEDS is enough."""
        return _first(range(self.seeds + 1, MOST_SEEDS + 1), lambda seeds: self.settled(self.messages, seeds))

    def messages_needed(self) -> int | None:
        """With the seeds that there are, in hundreds; None where no number up to MOST_MESSAGES is enough."""
        start = -(-(self.messages + 1) // 100) * 100
        return _first(
            range(start, MOST_MESSAGES + 1, 100), lambda messages: self.settled(messages, self.seeds)
        )

    def smallest(self) -> float:
        """The smallest difference that would be found with POWER in the experiment as it was."""
        return (_range_quantile(self.among) + normal_quantile(1 - POWER)) * self.error(
            self.messages, self.seeds
        )


def _first(numbers: range, enough: Callable[[int], bool]) -> int | None:
    """The first of rising ``numbers`` that is enough, found by halving: what is enough stays so."""
    if not numbers or not enough(numbers[-1]):
        return None
    low, high = -1, len(numbers) - 1
    while high - low > 1:
        middle = (low + high) // 2
        if enough(numbers[middle]):
            high = middle
        else:
            low = middle
    return numbers[high]


@lru_cache
def _range_quantile(among: int) -> float:
    """What the difference of two of ``among`` equal strategies must be, in standard errors, to be called one."""
    from scipy import stats

    return float(stats.studentized_range.isf(1 - LEVEL, max(among, 2), np.inf) / np.sqrt(2))


# --- the command -------------------------------------------------------------------------------------------------


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Print the smallest difference that could be seen, and what more seeds or messages would change."""
    parser = argparse.ArgumentParser(
        prog="python -m headtohead.experiments.power", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--messages", type=int, default=300, help="test messages (default: %(default)s)")
    add("--seeds", type=int, default=5, help="seeds of each strategy (default: %(default)s)")
    add("--strategies", type=int, default=2, help="how many are compared (default: %(default)s)")
    add("--accuracy", type=float, default=95.0, help="of the best, in percent (default: %(default)s)")
    add(
        "--seed-deviation",
        type=float,
        default=1.0,
        help="of a run by its seed, in points (default: %(default)s)",
    )
    add("--power", type=float, default=100 * POWER, help="found so often, in percent (default: %(default)s)")
    add("--experiments", type=int, default=200, help="draws for each difference tried (default: %(default)s)")
    given = parser.parse_args(arguments)
    plan = _checked(given)
    power, experiments = given.power / 100, given.experiments
    for each in (plan, replace(plan, seeds=2 * plan.seeds), replace(plan, messages=2 * plan.messages)):
        print(sentence(each, smallest_difference(each, power, experiments), power), flush=True)
    return 0


def sentence(plan: Plan, difference: float | None, power: float) -> str:
    """The result in words."""
    about = f"{plan.messages} test messages, {plan.seeds} seeds, {plan.strategies} strategies"
    if difference is None:
        return f"{about}: no difference is found in {100 * power:g} % of experiments."
    return f"{about}: a difference of {100 * difference:.1f} points is found in {100 * power:g} % of experiments."


def _checked(given: argparse.Namespace) -> Plan:
    """InputError for what no experiment can have."""
    allowed = {
        "messages": (10, 1_000_000), "seeds": (2, 1000), "strategies": (2, 100), "accuracy": (1, 99.9),
        "seed_deviation": (0, 50), "power": (1, 99), "experiments": (20, 100_000),
    }  # fmt: skip
    for name, (low, high) in allowed.items():
        value = getattr(given, name)
        if not low <= value <= high:
            raise InputError(f"--{name.replace('_', '-')} {value:g}: must be from {low:g} to {high:g}")
    return Plan(
        given.messages, given.seeds, given.strategies, given.accuracy / 100, given.seed_deviation / 100
    )


if __name__ == "__main__":
    sys.exit(main())
