"""What the ways of doing several runs at once have in common.

Shapes: S runs, B rows.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from headtohead.core.engine.engine import Engine
from headtohead.core.engine.options import Job, OnProgress, Outcome
from headtohead.core.training import (
    Event,
    Finish,
    History,
    HistoryRow,
    Measure,
    Step,
    check_finite,
    protocol,
)

# What is said of an outcome whose run shared the process and its time with others.
UNKNOWN_IN_GROUPS: dict[str, Any] = {
    "grouped": True,
    "peak_memory_bytes": None,
    "memory_above_model_bytes": None,
    "train_joules": None,
}
Ended = tuple[Job, Outcome | Exception]


def fit_alone(engine: Engine, job: Job, on_progress: OnProgress) -> Ended:
    """One run by itself: its outcome, or the error that ended it."""
    try:
        return job, engine.fit(job.variant, job.seed, job.directory, on_progress)
    except Exception as error:  # noqa: BLE001 - whatever ended a run; the caller records it
        return job, error


def events_of(engine: Engine, seed: int) -> list[Event]:
    """A run's whole protocol, drawn as it is drawn when the run is alone and nothing else draws."""
    torch.manual_seed(seed)
    return list(protocol(engine.loaders(seed), engine.config))


def follow(
    events: Sequence[Sequence[Event]],
    step: Callable[[Tensor], None],
    measure: Callable[[int, Measure], HistoryRow],
    on_step: Callable[[int, int], None],
) -> list[History]:
    """Follow the protocols of S runs in step.

    Args:
        events: every run's own; they differ in their rows only.
        step: trains on rows (S, B), a batch of each run's.
        measure: does one measurement of the run with that number.
        on_step: called with the steps done and all steps.
    """
    histories = [History() for _ in events]
    total = sum(isinstance(event, Step) for event in events[0])
    for at_once in zip(*events, strict=True):
        first = at_once[0]
        if isinstance(first, Step):
            step(torch.stack([event.rows for event in at_once if isinstance(event, Step)]))
            on_step(first.moment.step + 1, total)
        elif isinstance(first, Measure):
            for number, event in enumerate(at_once):
                assert isinstance(event, Measure)
                histories[number].rows.append(measure(number, event))
    for history, run_events in zip(histories, events, strict=True):
        steps = [event for event in run_events if isinstance(event, Step)]
        history.steps, history.examples_seen = len(steps), steps[-1].moment.examples_seen
        history.updates = len(steps)
        history.final_batches = next(event.batches for event in run_events if isinstance(event, Finish))
    return histories


def row_shares(labels: Tensor, class_weights: Tensor | None) -> Tensor:
    """(S, B) the share of each row in its batch's mean loss: equal ones, or by the weights (C,) of the classes."""
    if class_weights is None:
        return torch.full(labels.shape, 1 / labels.shape[1], device=labels.device)
    weights = class_weights[labels]
    return weights / weights.sum(dim=1, keepdim=True)


def check_losses(losses: Sequence[Tensor], number: int) -> None:
    """TrainingError where a loss of the run with that number, in losses (S,) of every step, was not finite."""
    for step, loss in enumerate(torch.stack(list(losses))[:, number].tolist()):
        check_finite(loss, step)
