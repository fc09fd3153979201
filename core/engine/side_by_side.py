"""Runs that read the same hidden states, one per core.

Each trains on one thread, without the barriers of a product split over cores. All of them share torch's generator,
so a run goes this way only where nothing in its steps can draw from it: the strategy has no code of its own between
two steps, and no forward pass was seen to draw. Others go alone.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace

import torch

from headtohead.core.engine.engine import Engine
from headtohead.core.engine.finish import finish_run
from headtohead.core.engine.fit import prepare_run, train_run
from headtohead.core.engine.group import UNKNOWN_IN_GROUPS, Ended, events_of, fit_alone
from headtohead.core.engine.options import Job, OnProgress, Outcome
from headtohead.core.engine.threads import AVAILABLE
from headtohead.core.engine.verify import PlanFailed
from headtohead.core.errors import TrainingError
from headtohead.core.training import Progress


def fit_side_by_side(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Ended]:
    """One run per core, each on one thread."""
    threads, alone = torch.get_num_threads(), []
    steps = _SharedProgress(len(jobs), on_progress)
    try:
        with ThreadPoolExecutor(AVAILABLE, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: dict[Future[Outcome | None], Job] = {
                pool.submit(_fit_drawn, engine, job, steps.of(number)): job for number, job in enumerate(jobs)
            }
            try:
                for done in as_completed(waiting):
                    error = done.exception()
                    if error is not None and not isinstance(error, Exception):
                        raise error
                    if error is None and (outcome := done.result()) is not None:
                        yield waiting[done], outcome
                    elif error is None or isinstance(error, PlanFailed):
                        alone.append(waiting[done])
                    else:
                        yield waiting[done], error
            finally:
                steps.stopped = True
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)
    for job in alone:
        yield fit_alone(engine, job, on_progress)


def _fit_drawn(engine: Engine, job: Job, on_progress: OnProgress) -> Outcome | None:
    """The run's outcome; None where it must not share the generator."""
    with engine.drawing:
        run = prepare_run(engine, job, on_progress)
        if run.verdict.draws or not (run.plan.cut or run.plan.restructured):
            return None
        events = events_of(engine, job.seed)
    outcome = finish_run(engine, run, train_run(engine, run, events, on_progress))
    # The process's peak belongs to all runs that shared it.
    return replace(outcome, **UNKNOWN_IN_GROUPS)


class _SharedProgress:
    """The progress of several runs as one; raises in the runs once the caller has stopped listening."""

    def __init__(self, runs: int, on_progress: OnProgress) -> None:
        self.steps = [0] * runs
        self.stopped = False
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def of(self, number: int) -> Callable[[Progress], None]:
        def report(progress: Progress) -> None:
            if self.stopped:
                raise TrainingError("stopped together with the other runs of its group")
            with self._lock:
                if progress.phase == "training":
                    self.steps[number] = progress.step
                    total = progress.total_steps * len(self.steps)
                    progress = Progress(
                        sum(self.steps), total, progress.loss, f"{len(self.steps)} runs side by side"
                    )
                self._on_progress(progress)

        return report
