"""Seeds of one variant trained together, as one batched problem behind the frozen prefix.

A step of one small run leaves an accelerator mostly idle. So every trainable parameter of S runs is stacked into
one tensor (S, ...), the stages behind the cut are computed for S batches at once, and one AdamW moves all of them,
which is exact: it works element by element, and runs of one variant share their learning rates. The loss is the
sum of the runs' own, so no run's gradient has a part in another's. Each run's model keeps views of the stacked
tensors as its parameters: it is evaluated, saved and reloaded as if it were alone.
Before training, one batch is compared with the runs' own forwards; what cannot be stacked is done alone.
Shapes: S runs, B rows, C classes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.engine.engine import Engine
from headtohead.core.engine.facts import overridden
from headtohead.core.engine.finish import finish_run
from headtohead.core.engine.fit import TrainingRun, prepare_run
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
from headtohead.core.engine.tail import Tail, logits_of_all
from headtohead.core.engine.trial import first_line
from headtohead.core.engine.verify import disturbed
from headtohead.core.errors import TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy
from headtohead.core.training import History, HistoryRow, Measure, Progress, Step, measure

SAME_LOGITS = 1e-4  # of the largest logit: a stack may differ from the runs' own forwards by rounding
FLOATS = 4  # per trained number: itself, its gradient and AdamW's two moments


def can_be_stacked(strategy: Strategy) -> bool:
    """Whether a step of a strategy is nothing but cross-entropy and AdamW (with any groups)."""
    return not overridden(strategy) & {"before_training", "extra_loss", "after_step"}


def fit_stacked(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> Iterator[Ended]:
    """Runs of one variant in as few stacks as memory holds, or one after another where they cannot be stacked."""
    waiting, why_not = list(jobs), ""
    while len(waiting) > 1:
        try:
            stack, histories = _train(engine, waiting, on_progress)
        except Exception as error:  # noqa: BLE001 - whatever is in the way, each run can be tried alone
            why_not = f"not trained together with other seeds: {first_line(error)}"
            break
        waiting = waiting[len(stack.runs) :]
        yield from _finish(engine, stack, histories)
        del stack  # before the next one takes its memory
    for job in waiting:
        _, outcome = fit_alone(engine, job, on_progress)
        if why_not and isinstance(outcome, Outcome):
            outcome = replace(outcome, warnings=[*outcome.warnings, why_not])
        yield job, outcome


def _train(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> tuple["Stack", list[History]]:
    """Train the first of the jobs, as many as memory holds; what was measured of each of them."""
    stack = _prepare(engine, jobs, on_progress)
    with stack.runs[0].meter.measure("train"):
        optimizer, words = stack.optimizer(), f"{len(stack.runs)} seeds at once"
        histories = follow(
            stack.events,
            lambda rows: stack.step(optimizer, rows),
            stack.measure,
            lambda step, total: on_progress(Progress(step, total, None, words)),
        )
    _share_times(stack.runs)
    return stack, histories


def _prepare(engine: Engine, jobs: Sequence[Job], on_progress: OnProgress) -> "Stack":
    """As many of the jobs as memory holds, stacked and checked."""
    runs = [prepare_run(engine, jobs[0], on_progress)]
    size = _size(len(jobs), _room(engine.options.device, runs[0].trainable_params))
    for job in jobs[1:size]:
        run = prepare_run(engine, job, on_progress)
        _share_frozen(runs[0].model, run.model)
        runs.append(run)
    with runs[0].meter.measure("setup"):
        stack = Stack(engine, runs)
        stack.check()
    return stack


def _room(device: str, trainable_params: int) -> int | None:
    """How many runs half of a CUDA device's free memory can train; None for no limit."""
    if not device.startswith("cuda"):
        return None
    free = int(torch.cuda.mem_get_info(device)[0])
    return free // 2 // (FLOATS * 4 * trainable_params)


def _size(runs: int, room: int | None) -> int:
    """How many runs the next stack holds, so that all stacks are about equally large.

    Raises:
        TrainingError: there is no room for two.
    """
    if room is None:
        return runs
    if room < 2:
        raise TrainingError("the device's memory holds one run at a time")
    stacks = -(-runs // room)
    return -(-runs // stacks)


def _share_frozen(first: GPTModel, other: GPTModel) -> None:
    """Keep frozen parameters that two models have in common once: a whole GPT per run would fill the device."""
    kept = dict(first.named_parameters())
    for name, parameter in other.named_parameters():
        if not parameter.requires_grad and name in kept and _equal(parameter, kept[name]):
            parameter.data = kept[name].data


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _finish(engine: Engine, stack: "Stack", histories: Sequence[History]) -> Iterator[Ended]:
    """Save, reload and evaluate every run as if it were alone."""
    for number, (run, history) in enumerate(zip(stack.runs, histories, strict=True)):
        run.model.eval()
        run.forward.parameters_changed()
        try:
            check_losses(stack.losses, number)
            yield run.job, replace(finish_run(engine, run, history), **UNKNOWN_IN_GROUPS)
        except Exception as error:  # noqa: BLE001 - one run's error must not take the others along
            yield run.job, error
        run.rebuilt = None  # another whole model


def _share_times(runs: Sequence[TrainingRun]) -> None:
    """Charge every run the same part of what all of them took."""
    for part in ("setup", "train"):
        share = sum(run.meter.seconds.get(part, 0.0) for run in runs) / len(runs)
        for run in runs:
            run.meter.seconds[part] = share


class Stack:
    """S prepared runs of one variant as one problem, each with the rows that its seed draws."""

    def __init__(self, engine: Engine, runs: Sequence[TrainingRun]) -> None:
        self.engine = engine
        self.runs = list(runs)
        with engine.drawing:
            self.events = [events_of(engine, run.job.seed) for run in runs]
        if not all(run.plan == runs[0].plan and run.plan.restructured for run in runs):
            raise TrainingError("; ".join(runs[0].plan.notes) or "the seeds have different plans")
        tails = [Tail(run, engine.config.readout) for run in runs]
        self.tail = tails[0]
        self.trained: dict[str, nn.Parameter] = {}
        self.fixed: dict[str, Tensor] = {}  # frozen tensors that each seed draws for itself
        values = (_tensors(tail).values() for tail in tails)
        for name, *tensors in zip(_tensors(self.tail), *values, strict=True):
            if tensors[0].requires_grad:
                self.trained[name] = _stacked(tensors)
            elif not all(_equal(tensors[0], tensor) for tensor in tensors[1:]):
                self.fixed[name] = torch.stack(tensors)
        self.losses: list[Tensor] = []  # (S,) per step

    def logits(self, rows: Tensor) -> Tensor:
        """Row numbers (S, B) of the training split -> class logits (S, B, C)."""
        sequences, device = self.engine.sequences, self.engine.options.device
        numbers = sequences.of_row["train"][rows]
        return logits_of_all(self.tail, self.trained | self.fixed, sequences, numbers, device)

    def check(self) -> None:
        """Compare the first batch with the runs' own forwards, and take its gradient once; models train after it.

        Inserted layers may start as the identity, so the comparison is made with the parameters disturbed.

        Raises:
            TrainingError: the logits differ. Errors of torch, where the stack cannot be computed, pass through.
        """
        for run in self.runs:
            run.model.train()  # so that a layer which draws random numbers is refused
        rows, trained = self._first_rows(), list(self.trained.values())
        with disturbed(trained):
            logits = self.logits(rows)
            torch.autograd.grad(logits.sum(), trained, allow_unused=True)
            expected = torch.stack(
                [self._own_logits(run, own) for run, own in zip(self.runs, rows, strict=True)]
            )
        for run in self.runs:
            run.forward.parameters_changed()
        scale = max(1.0, float(expected.nan_to_num(posinf=0, neginf=0).abs().max()))
        if not torch.allclose(logits, expected, rtol=0, atol=SAME_LOGITS * scale, equal_nan=True):
            raise TrainingError("together they do not compute what each computes alone")

    def _first_rows(self) -> Tensor:
        firsts = (next(event for event in own if isinstance(event, Step)) for own in self.events)
        return torch.stack([event.rows for event in firsts])

    def _own_logits(self, run: TrainingRun, rows: Tensor) -> Tensor:
        run.forward.parameters_changed()
        with torch.no_grad():
            return run.forward.logits("train", rows)

    def optimizer(self) -> torch.optim.Optimizer:
        """AdamW with the groups that the strategy gives for one run, each parameter's place taken by its stack."""
        run, places = self.runs[0], {id(own): name for name, own in self.tail.named_parameters()}
        groups = []
        for group in run.strategy.param_groups(run.model):
            names = [places.get(id(parameter)) for parameter in group["params"]]
            groups.append(group | {"params": [self.trained[name] for name in names if name in self.trained]})
        return torch.optim.AdamW(
            groups,
            lr=run.strategy.learning_rate,
            weight_decay=run.strategy.weight_decay,
            fused=True if run.plan.fused_optimizer else None,
        )

    def step(self, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
        """One step of every run on rows (S, B); nothing here waits for the device."""
        labels = self.engine.labels["train"]
        labels = labels[rows.to(labels.device)]
        logits = self.logits(rows).float().transpose(1, 2)  # (S, C, B)
        shares = row_shares(labels, self.engine.class_weights)
        losses = (F.cross_entropy(logits, labels, reduction="none") * shares).sum(dim=1)
        optimizer.zero_grad()
        losses.sum().backward()
        optimizer.step()
        self.losses.append(losses.detach())

    def measure(self, number: int, event: Measure) -> HistoryRow:
        """One measurement of one run, by its own forward."""
        run = self.runs[number]
        run.forward.parameters_changed()
        run.model.eval()
        row = measure(run.forward, event)
        run.model.train()
        return row


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _stacked(parameters: Sequence[Tensor]) -> nn.Parameter:
    """One parameter (S, ...) of which the given ones become views."""
    stack = nn.Parameter(torch.stack([parameter.detach() for parameter in parameters]))
    for own, parameter in zip(stack.detach(), parameters, strict=True):
        parameter.data = own
    return stack
