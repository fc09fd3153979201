"""Runs that train the head alone, as one batched problem.

Such a run is a tiny linear problem on features that all runs share. All seeds and learning rates are solved
together, in batched products with a leading dimension of runs.
Shapes: S runs, B rows, D dims, C classes, U distinct sequences.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.engine.engine import Engine
from headtohead.core.engine.finish import finish_run
from headtohead.core.engine.fit import TrainingRun, prepare_run, starting_accuracy
from headtohead.core.engine.group import (
    UNKNOWN_IN_GROUPS,
    Ended,
    check_losses,
    events_of,
    fit_alone,
    follow,
    row_shares,
)
from headtohead.core.engine.options import Job, OnProgress, Outcome
from headtohead.core.strategy import Strategy
from headtohead.core.training import Event, History, Progress, SplitName, measure

BETAS, EPSILON = (0.9, 0.999), 1e-8  # AdamW's defaults in torch


def fit_heads(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Ended]:
    """All runs that train the head alone, as one batched problem for each part of the data.

    Runs of one part have equally many steps; one model, prepared once, serves all parts.
    """
    run = prepare_run(engine, jobs[0], on_progress)
    for part in dict.fromkeys(job.part for job in jobs):
        own = [job for job in jobs if job.part == part]
        if run.stored is None:  # its plan did not agree with the reference path
            for job in own:
                yield fit_alone(engine.of(part), job, on_progress)
        else:
            yield from _fit_part(engine.of(part), own, run, on_progress)


def _fit_part(
    engine: Engine, jobs: Sequence[Job], run: TrainingRun, on_progress: OnProgress
) -> Iterator[Ended]:
    """Runs on one part of the data, with the prepared model of ``run``."""
    with engine.drawing:
        heads = [_first_head(engine, job, run) for job in jobs]
        events = [events_of(engine, job.seed) for job in jobs]
    run.meter.seconds["train"] = 0.0
    with run.meter.measure("train"):
        solver = _Heads(engine, jobs, run, heads)
        before = [
            starting_accuracy(engine, solver.forward(number), job.seed) for number, job in enumerate(jobs)
        ]
        solver.train(events, on_progress)
    share = run.meter.seconds["train"] / len(jobs)
    for number, job in enumerate(jobs):
        run.job, run.before = job, before[number]
        try:
            yield job, _head_outcome(engine, run, solver, number, share)
        except Exception as error:  # noqa: BLE001 - one run's error must not take the others along
            yield job, error


def _first_head(engine: Engine, job: Job, run: TrainingRun) -> nn.Linear:
    """The head that the seed gives: drawn right after seeding, as in ``make_classifier``."""
    torch.manual_seed(job.seed)
    head = run.model.out_head
    return nn.Linear(head.in_features, head.out_features)


class _Heads:
    """S linear heads (S, C, D) on shared features (U, D), trained by AdamW with a learning rate each."""

    def __init__(
        self, engine: Engine, jobs: Sequence[Job], run: TrainingRun, heads: Sequence[nn.Linear]
    ) -> None:
        device = engine.options.device
        assert run.stored is not None
        self.features = run.stored.hidden.to(device)
        self.engine = engine
        self.weights = torch.stack([head.weight.detach() for head in heads]).to(device)  # (S, C, D)
        self.biases = torch.stack([head.bias.detach() for head in heads]).to(device)  # (S, C)
        strategies = [job.variant.strategy for job in jobs]
        rates = [(item.learning_rate, item.weight_decay) for item in strategies if isinstance(item, Strategy)]
        self.rates, self.decays = (
            torch.tensor(values, dtype=torch.float64) for values in zip(*rates, strict=True)
        )
        self.moments = [
            torch.zeros_like(each) for each in (self.weights, self.weights, self.biases, self.biases)
        ]
        self.histories: list[History] = []
        self.losses: list[Tensor] = []  # (S,) per step

    def train(self, events: Sequence[Sequence[Event]], on_progress: OnProgress) -> None:
        """Follow the protocols of all runs in step."""
        self.histories = follow(
            events,
            self._step,
            lambda number, event: measure(self.forward(number), event),
            lambda step, total: on_progress(Progress(step, total, None, f"{len(events)} heads at once")),
        )

    def _step(self, rows: Tensor) -> None:
        """One AdamW step of every head on rows (S, B); the gradient of the mean cross-entropy in closed form."""
        device = self.features.device
        x = self.features[self.engine.sequences.of_row["train"][rows].to(device)]  # (S, B, D)
        labels = self.engine.labels["train"][rows.to(device)]
        logits = x @ self.weights.transpose(1, 2) + self.biases[:, None]  # (S, B, C)
        log_probabilities = logits.log_softmax(dim=-1)
        shares = row_shares(labels, self.engine.class_weights)  # (S, B)
        losses = F.nll_loss(log_probabilities.transpose(1, 2), labels, reduction="none")
        self.losses.append((losses * shares).sum(dim=1))
        d_logits = (log_probabilities.exp() - F.one_hot(labels, logits.shape[-1])) * shares[..., None]
        self._adamw(self.weights, d_logits.transpose(1, 2) @ x, *self.moments[:2])
        self._adamw(self.biases, d_logits.sum(dim=1), *self.moments[2:])

    def _adamw(self, parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> None:
        """Loshchilov and Hutter (2019), arXiv:1711.05101, in torch's order of operations."""
        step = len(self.losses)
        shape = (-1,) + (1,) * (parameter.dim() - 1)
        rates = self.rates.view(shape)
        decay, size = 1 - rates * self.decays.view(shape), rates / (1 - BETAS[0] ** step)
        parameter.mul_(decay.to(parameter))
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        denominator = (square.sqrt() / (1 - BETAS[1] ** step) ** 0.5).add_(EPSILON)
        parameter.sub_(size.to(parameter) * (mean / denominator))

    def forward(self, number: int) -> "_HeadForward":
        """One run's logits."""
        return _HeadForward(self, number)


class _HeadForward:
    """``core.training.Forward`` for one of several heads."""

    evaluation_rows: int | None = 4096

    def __init__(self, heads: _Heads, number: int) -> None:
        self.heads = heads
        self.number = number

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        numbers = self.heads.engine.sequences.of_row[split][rows].to(self.heads.features.device)
        return F.linear(
            self.heads.features[numbers], self.heads.weights[self.number], self.heads.biases[self.number]
        )

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        labels = self.heads.engine.labels[split]
        return labels[rows.to(labels.device)]

    def parameters_changed(self) -> None:
        """The weights are read at every call."""


def _head_outcome(engine: Engine, run: TrainingRun, heads: _Heads, number: int, share: float) -> Outcome:
    """One head put into the model of the group, saved, reloaded and evaluated as any run is."""
    check_losses(heads.losses, number)
    head = run.model.out_head
    with torch.no_grad():
        head.weight.copy_(heads.weights[number])
        head.bias.copy_(heads.biases[number])
    run.forward.parameters_changed()
    run.meter.seconds |= {"train": share, "eval": 0.0}
    outcome = finish_run(engine, run, heads.histories[number])
    return replace(outcome, **UNKNOWN_IN_GROUPS)
