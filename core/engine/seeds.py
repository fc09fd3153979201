"""Several runs at once, where sharing work leaves each run's numbers as they are alone.

Every run keeps the row order and the first weights that its seed gives it alone: both are drawn before it starts,
from a generator seeded for it. Times of such runs are shares of the group's and marked so.
"""

from collections.abc import Iterator, Sequence

from core.engine.fit import Engine, OnProgress
from core.engine.heads import fit_heads
from core.engine.options import Job
from core.engine.side_by_side import fit_side_by_side
from core.engine.together import Result, fit_alone
from core.strategy import Strategy


def groups(engine: Engine, jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that may run together, in the order of their first one."""
    kinds: dict[object, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(_kind(engine, job), []).append(job)
    return list(kinds.values())


def fit_group(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Result]:
    """Do the jobs of one group of :func:`groups`; each yields its outcome, or the error that ended it."""
    if len(jobs) == 1:
        yield fit_alone(engine, jobs[0], on_progress)
    elif _kind(engine, jobs[0]) == "heads":
        yield from fit_heads(engine, jobs, on_progress)
    else:
        yield from fit_side_by_side(engine, jobs, on_progress)


def _kind(engine: Engine, job: Job) -> object:
    """Jobs of the same kind form a group; a job that must run alone has a kind of its own."""
    alone = (job.variant.label, job.seed)
    options = engine.options
    if not options.together or options.reference or options.precision != "fp32":
        return alone
    if not isinstance(job.variant.strategy, Strategy):
        return alone
    try:
        seen = engine.inspect(job.variant)
    except Exception:  # noqa: BLE001 - its run will fail with the same error, alone, and be recorded so
        return alone
    if seen.only_head:
        return "heads"
    return job.variant.label if seen.cut and engine.options.device == "cpu" else alone
