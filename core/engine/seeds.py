"""Several runs at once, where sharing work leaves each run's numbers as they are alone.

Every run keeps the row order and the first weights that its seed gives it alone: both are drawn before it starts,
from a generator seeded for it. Times of such runs are shares of the group's and marked so.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from enum import Enum, auto

from headtohead.core.engine.engine import Engine
from headtohead.core.engine.group import Ended, fit_alone
from headtohead.core.engine.heads import fit_heads
from headtohead.core.engine.options import Job, OnProgress, Outcome
from headtohead.core.engine.side_by_side import fit_side_by_side
from headtohead.core.engine.stacked import can_be_stacked, fit_stacked
from headtohead.core.engine.threads import SMALL
from headtohead.core.strategy import Strategy, Variant


class Way(Enum):
    """How runs are done."""

    ALONE = auto()  # one after another
    HEADS = auto()  # every run that trains the head alone, of whatever variant, as one small problem
    SIDE_BY_SIDE = auto()  # seeds of a variant, one per core
    STACKED = auto()  # seeds of a variant as one batched problem


# What exists for CUDA alone (stacked.py, tail.py) and was never run there; ``pytest -m gpu`` does. Runs say so.
EXPERIMENTAL = {
    Way.STACKED: "experimental: seeds trained as one stack, which was tested on the CPU alone; --one-at-a-time does "
    "without"
}


def groups(engine: Engine, jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that may run together, in the order of their first one."""
    kinds: dict[object, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(_kind(engine, job), []).append(job)
    return list(kinds.values())


def fit_group(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Ended]:
    """Do the jobs of one group of :func:`groups`; each yields its outcome, or the error that ended it."""
    engine = engine.of(jobs[0].part)
    way = way_of(engine, jobs[0].variant) if len(jobs) > 1 else Way.ALONE
    for job, outcome in _WAYS[way](engine, jobs, on_progress):
        if way in EXPERIMENTAL and isinstance(outcome, Outcome):
            outcome = replace(outcome, warnings=[*outcome.warnings, EXPERIMENTAL[way]])
        yield job, outcome


def way_of(engine: Engine, variant: Variant) -> Way:
    """How runs of a variant are done where there are several of them."""
    options, strategy = engine.options, variant.strategy
    if not options.together or options.reference or options.precision != "fp32":
        return Way.ALONE
    if not isinstance(strategy, Strategy):
        return Way.ALONE
    try:
        seen = engine.inspect(variant)
    except Exception:  # noqa: BLE001 - its run will fail with the same error, alone, and be recorded so
        return Way.ALONE
    every_step = engine.config.accumulation_steps == 1  # updates the parameters
    if seen.only_head and every_step:
        return Way.HEADS
    # One thread computes a product of a small model, so a run leaves the other cores idle.
    idle_cores = options.spread and engine.pretrained.config.emb_dim < SMALL
    if (seen.cut or (idle_cores and seen.restructured)) and options.device == "cpu" and not seen.steps:
        return Way.SIDE_BY_SIDE  # cores share nothing but memory, so batching gains nothing
    on_cuda = options.device.startswith("cuda") and not (options.compile or options.recompute)
    if seen.cut and seen.restructured and on_cuda and every_step and can_be_stacked(strategy):
        return Way.STACKED
    return Way.ALONE


def _kind(engine: Engine, job: Job) -> object:
    """Jobs of the same kind form a group; a job that must run alone has a kind of its own."""
    way = way_of(engine.of(job.part), job.variant)
    if way is Way.HEADS:
        return way, job.part.split, job.part.test  # subsets share the model and its hidden states
    if way is Way.SIDE_BY_SIDE and not job.part.test:
        return way, job.part, job.variant.name  # whatever their hyperparameters
    return way, job.part, repr(job.variant), job.seed if way is Way.ALONE else None


def _one_after_another(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Ended]:
    for job in jobs:
        yield fit_alone(engine, job, on_progress)


_WAYS = {
    Way.ALONE: _one_after_another,
    Way.HEADS: fit_heads,
    Way.SIDE_BY_SIDE: fit_side_by_side,
    Way.STACKED: fit_stacked,
}
