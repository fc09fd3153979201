"""Several runs at once, where sharing work leaves each run's numbers as they are alone.

Heads: when only the head is trained, a run is a tiny linear problem on features that all runs share. All seeds
and learning rates are solved together, in batched products with a leading dimension of runs.
Side by side: runs that read the same hidden states train one per core, each on one thread, without the barriers
of a product split over cores.
Every run keeps the row order and the first weights that its seed gives it alone: both are drawn before it starts,
from a generator seeded for it. Times of such runs are shares of the group's and marked so.
Shapes: S runs, B rows, D dims, C classes, U distinct sequences.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from core.engine.fit import Engine, OnProgress, TrainingRun
from core.engine.options import Job, Outcome
from core.engine.threads import AVAILABLE
from core.errors import TrainingError
from core.strategy import Strategy
from core.training import (
    Event,
    Finish,
    History,
    Measure,
    Progress,
    SplitName,
    Step,
    check_finite,
    measure,
    protocol,
    row_loaders,
)

Result = tuple[Job, Outcome | Exception]
BETAS, EPSILON = (0.9, 0.999), 1e-8  # AdamW's defaults in torch


def groups(engine: Engine, jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that may run together, in the order of their first one."""
    kinds: dict[object, list[Job]] = {}
    for job in jobs:
        kinds.setdefault(_kind(engine, job), []).append(job)
    return list(kinds.values())


def fit_group(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Result]:
    """Do the jobs of one group of :func:`groups`; each yields its outcome, or the error that ended it."""
    if len(jobs) == 1:
        yield _alone(engine, jobs[0], on_progress)
    elif _kind(engine, jobs[0]) == "heads":
        yield from _fit_heads(engine, jobs, on_progress)
    else:
        yield from _fit_side_by_side(engine, jobs, on_progress)


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


def _alone(engine: Engine, job: Job, on_progress: OnProgress) -> Result:
    try:
        return job, engine.fit(job.variant, job.seed, job.directory, on_progress)
    except Exception as error:  # noqa: BLE001 - whatever ends a run is its result; the caller records it
        return job, error


def _events(engine: Engine, seed: int) -> list[Event]:
    """A run's whole protocol, drawn as it is drawn when the run is alone and nothing else draws."""
    torch.manual_seed(seed)
    return list(protocol(row_loaders(engine.dataset, engine.config.batch_size), engine.config))


# --- runs side by side -----------------------------------------------------------------------------------------


def _fit_side_by_side(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Result]:
    """One run per core, each on one thread."""
    threads = torch.get_num_threads()
    steps = _Together(len(jobs), on_progress)
    try:
        with ThreadPoolExecutor(AVAILABLE, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            waiting: dict[Future[Outcome], Job] = {
                pool.submit(_fit_drawn, engine, job, steps.of(number)): job for number, job in enumerate(jobs)
            }
            try:
                for done in as_completed(waiting):
                    error = done.exception()
                    if error is not None and not isinstance(error, Exception):
                        raise error
                    yield waiting[done], error if error is not None else done.result()
            finally:
                steps.stopped = True
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)


def _fit_drawn(engine: Engine, job: Job, on_progress: OnProgress) -> Outcome:
    with engine.drawing:
        run = engine.prepare(job, on_progress)
        events = _events(engine, job.seed)
    outcome = engine.finish(run, engine.train(run, events, on_progress))
    # The process's peak belongs to all runs that shared it.
    return replace(outcome, grouped=True, peak_memory_bytes=None)


class _Together:
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


# --- heads -----------------------------------------------------------------------------------------------------


def _fit_heads(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Result]:
    """All runs that train the head alone, as one batched problem."""
    run = engine.prepare(jobs[0], on_progress)
    assert run.stored is not None
    with engine.drawing:
        heads = [_first_head(engine, job, run) for job in jobs]
        events = [_events(engine, job.seed) for job in jobs]
    with run.meter.measure("train"):
        solver = _Heads(engine, jobs, run, heads)
        solver.train(events, on_progress)
    share = run.meter.seconds["train"] / len(jobs)
    for number, job in enumerate(jobs):
        run.job = job
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
        self.histories = [History() for _ in jobs]
        self.losses: list[Tensor] = []  # (S,) per step

    def train(self, events: Sequence[Sequence[Event]], on_progress: OnProgress) -> None:
        """Follow the protocols of all runs in step."""
        total = sum(isinstance(event, Step) for event in events[0])
        rows_of = self.engine.sequences.of_row["train"]
        for together in zip(*events, strict=True):
            first = together[0]
            if isinstance(first, Step):
                rows = torch.stack([event.rows for event in together if isinstance(event, Step)])  # (S, B)
                device = self.features.device
                self._step(rows_of[rows].to(device), self.engine.labels["train"][rows.to(device)])
                on_progress(Progress(first.moment.step + 1, total, None, f"{len(events)} heads at once"))
            elif isinstance(first, Measure):
                for number, event in enumerate(together):
                    assert isinstance(event, Measure)
                    self.histories[number].rows.append(measure(self.forward(number), event))
        for history, run_events in zip(self.histories, events, strict=True):
            steps = [event for event in run_events if isinstance(event, Step)]
            history.steps, history.examples_seen = len(steps), steps[-1].moment.examples_seen
            history.final_batches = next(event.batches for event in run_events if isinstance(event, Finish))

    def _step(self, numbers: Tensor, labels: Tensor) -> None:
        """One AdamW step of every head; the gradient of the mean cross-entropy in closed form."""
        x = self.features[numbers]  # (S, B, D)
        logits = x @ self.weights.transpose(1, 2) + self.biases[:, None]  # (S, B, C)
        log_probabilities = logits.log_softmax(dim=-1)
        self.losses.append(
            F.nll_loss(log_probabilities.transpose(1, 2), labels, reduction="none").mean(dim=1)
        )
        d_logits = (log_probabilities.exp() - F.one_hot(labels, logits.shape[-1])) / labels.shape[1]
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

    def check(self, number: int) -> None:
        """TrainingError where a loss of this run was not finite."""
        for step, loss in enumerate(torch.stack(self.losses)[:, number].tolist()):
            check_finite(loss, step)


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
    heads.check(number)
    head = run.model.out_head
    with torch.no_grad():
        head.weight.copy_(heads.weights[number])
        head.bias.copy_(heads.biases[number])
    run.forward.parameters_changed()
    run.meter.seconds |= {"train": share, "eval": 0.0}
    outcome = engine.finish(run, heads.histories[number])
    return replace(outcome, grouped=True, peak_memory_bytes=None)
