"""Several seeds and learning rates of one strategy at once, against one run alone."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from headtohead.core.engine import Engine, EngineOptions, Job, Outcome, fit_group
from headtohead.core.strategy import Strategy, Variant
from headtohead.experiments.benchmark.contender import Assignment
from headtohead.experiments.benchmark.worker import reporting_failure

SIDE_BY_SIDE = 4  # runs at once of a strategy that trains more than the head
LEARNING_RATES = 10  # of heads, times seeds


@dataclass(frozen=True)
class GroupTimes:
    """Seconds of whole runs, classifiers saved and reloaded included, prefix of all messages included.

    ``prefix_seconds`` is contained in both of the others.
    """

    strategy: str
    runs: int
    one_seconds: float
    all_seconds: float
    prefix_seconds: float

    def as_row(self) -> dict[str, Any]:
        """With the ratio: what all runs cost in units of one."""
        return asdict(self) | {"cost_of_all_over_one": self.all_seconds / self.one_seconds}


def run_groups(connection: Connection, assignment: Assignment, heads: int) -> None:
    """The body of a process: one run alone, all together, one alone again.

    Where only the head is trained, ``heads`` runs: some seeds times ten learning rates.
    """
    with reporting_failure(connection):
        whole = Engine(assignment.pretrained, assignment.dataset, assignment.config)
        data = assignment.thinned or assignment.dataset
        options = EngineOptions(assignment.device)
        engine = Engine(assignment.pretrained, data, assignment.config, options)
        seen = engine.inspect(assignment.variant)
        jobs = _jobs(
            assignment, heads if seen.only_head else SIDE_BY_SIDE, LEARNING_RATES if seen.only_head else 1
        )
        tokens = [int(each.sequences.lengths.sum()) for each in (whole, engine)]
        first, prefix = _fit(engine, jobs[:1])
        together, _ = _fit(engine, jobs)
        again, _ = _fit(engine, jobs[:1])
        alone = min(first - prefix, again)
        prefix *= tokens[0] / tokens[1]
        times = GroupTimes(assignment.variant.label, len(jobs), prefix + alone, prefix + together, prefix)
        connection.send(("done", times))


def _jobs(assignment: Assignment, runs: int, learning_rates: int) -> list[Job]:
    """Seeds times learning rates, every run with a folder of its own."""
    jobs = []
    for number in range(runs):
        variant = _with_learning_rate(assignment.variant, 2.0 ** (number % learning_rates))
        seed = assignment.seed + number // learning_rates
        jobs.append(Job(variant, seed, assignment.folder / f"run-{number}"))
    return jobs


def _with_learning_rate(variant: Variant, factor: float) -> Variant:
    if factor == 1.0:
        return variant
    assert isinstance(variant.strategy, Strategy)
    rate = variant.strategy.learning_rate * factor
    label = f"{variant.name}@learning_rate={rate:g}"
    return replace(variant, label=label, strategy=replace(variant.strategy, learning_rate=rate))


def _fit(engine: Engine, jobs: Sequence[Job]) -> tuple[float, float]:
    """Seconds of the jobs, and those of the frozen prefix that the engine keeps from the first of all its runs."""
    start, prefix = time.perf_counter(), 0.0
    for _, outcome in fit_group(engine, jobs, lambda progress: None):
        if not isinstance(outcome, Outcome):
            raise outcome
        prefix = outcome.prefix_seconds or 0.0
    return time.perf_counter() - start, prefix
