"""What a run is on its own, whatever else is done beside it: its result, and what its seed draws."""

import torch

from core.engine.fit import Engine, OnProgress
from core.engine.options import Job, Outcome
from core.training import Event, protocol, row_loaders

Result = tuple[Job, Outcome | Exception]


def fit_alone(engine: Engine, job: Job, on_progress: OnProgress) -> Result:
    """One run by itself: its outcome, or the error that ended it."""
    try:
        return job, engine.fit(job.variant, job.seed, job.directory, on_progress)
    except Exception as error:  # noqa: BLE001 - whatever ends a run is its result; the caller records it
        return job, error


def events_of(engine: Engine, seed: int) -> list[Event]:
    """A run's whole protocol, drawn as it is drawn when the run is alone and nothing else draws."""
    torch.manual_seed(seed)
    return list(protocol(row_loaders(engine.dataset, engine.config.batch_size), engine.config))
