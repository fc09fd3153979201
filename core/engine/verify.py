"""A plan is compared with the reference path before it is trusted, and watched while it is used.

Before a run, one batch of messages goes through both: the class logits in training and in evaluation mode, the loss,
and the gradient of everything that trains must agree, with inserted parameters disturbed, because they may start as
the identity. Where a strategy brings code of its own (inserted modules, methods of the contract), this is done on a
model that is thrown away, with short and with long messages, and again after a first step; such a run is also
watched: what the plan relies on must stay as it was. Whatever differs, the reference path is taken, from the start.
Shapes: B rows, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn

from headtohead.core.engine.facts import Facts, look, outline, patched
from headtohead.core.engine.outside import generator_states, held_by, set_generators
from headtohead.core.engine.plan import Plan
from headtohead.core.errors import TrainingError
from headtohead.core.model import AS_DEFINED, GPTModel
from headtohead.core.strategy import Strategy, trainable_parameters
from headtohead.core.training import Forward, loss_of, training_loss

SAME = 1e-4  # of the largest logit or loss: the same sums in another order
SAME_STEP = 2e-5  # of the largest logit, after one step
SAME_GRADIENT = 1e-3  # of a parameter's largest gradient
NO_GRADIENT = 1e-4  # of the largest gradient of all: below it is rounding, as in the biases of keys
NOISE = 0.02


class PlanFailed(TrainingError):
    """What a plan relies on has changed, so the run must be done again by the reference path."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a plan after it was compared.

    Attributes:
        plan: that plan, or the reference path with the reason.
        facts: of the model when its training begins; None where nothing was looked at.
        draws: a step was seen to draw random numbers, so it cannot share a generator with other runs.
    """

    plan: Plan
    facts: Facts | None = None
    draws: bool = False


@dataclass(frozen=True)
class Seen:
    """What one training batch gave.

    Attributes:
        logits: (B, C).
        loss: with the strategy's own term.
        gradients: by name.
        drawn: the generators after the forward pass.
        trouble: what forbids any plan.
    """

    logits: Tensor
    loss: float
    gradients: dict[str, Tensor]
    drawn: tuple[Any, ...]
    trouble: str | None


@dataclass
class Comparison:
    """A model under a plan and by the reference path.

    Attributes:
        planned: the plan's forward, and how the model must be while it is used.
        rows: batches of rows of the training split; their logits are compared in training and evaluation mode.
        many: more rows, which the plan evaluates with the first batch in one call.
        draws: whether a forward pass in training mode was seen to draw random numbers.
    """

    model: GPTModel
    strategy: Strategy
    reference: Forward
    planned: "PlannedSide"
    rows: Sequence[Tensor]
    many: Tensor
    device: str
    draws: bool = False

    def difference(self, disturb: bool) -> str | None:
        """The first difference between the two; None where they agree. Later calls take the first batch only."""
        parameters = trainable_parameters(self.model) if disturb else []
        with disturbed(parameters):
            for rows in self.rows:
                if why := self._training_differs(rows) or self._evaluation_differs(rows):
                    return why
                self.many = self.many[:0]
        self.rows = self.rows[:1]
        self.planned.forward.parameters_changed()
        self.model.zero_grad(set_to_none=True)
        return None

    def step_difference(self, optimizer: torch.optim.Optimizer) -> str | None:
        """How far a first step by the plan's gradients leads elsewhere than by the reference path's; then undone.

        AdamW makes steps of full size even of gradients that are nothing but rounding. Where such a parameter takes
        part in an evaluation, the two ways are not the same, however close their gradients are.
        """
        start = generator_states(self.device)
        expected = self._after_step(optimizer, self.reference)
        set_generators(start, self.device)
        with self.planned.in_place():
            found = self._after_step(optimizer, self.planned.forward)
        return _differ("the logits after a step", expected, found, SAME_STEP)

    def _after_step(self, optimizer: torch.optim.Optimizer, forward: Forward) -> Tensor:
        """The logits of the reference path after one step by a forward's gradients, which is undone."""
        before = [
            (each, each.detach().clone()) for group in optimizer.param_groups for each in group["params"]
        ]
        forward.parameters_changed()
        self.model.train()
        optimizer.zero_grad()
        training_loss(self.model, self.strategy, forward, self.rows[0]).backward()
        optimizer.step()
        self.model.eval()
        with torch.no_grad():
            logits = self.reference.logits("train", self.rows[0]).float()
        for parameter, value in before:
            parameter.data.copy_(value)
        optimizer.state.clear()
        return logits

    def _training_differs(self, rows: Tensor) -> str | None:
        self.model.train()
        start = generator_states(self.device)
        expected = self._see(self.reference, rows)
        after = generator_states(self.device)
        set_generators(start, self.device)
        with self.planned.in_place():
            self.planned.forward.parameters_changed()
            found = self._see(self.planned.forward, rows)
        set_generators(after, self.device)
        return expected.trouble or found.trouble or _seen_differ(expected, found)

    def _evaluation_differs(self, rows: Tensor) -> str | None:
        self.model.eval()
        before = generator_states(self.device)
        with torch.no_grad():
            expected = self.reference.logits("train", rows).float()
            with self.planned.in_place():
                forward = self.planned.forward
                forward.parameters_changed()
                forward.logits("train", torch.cat([rows, self.many]))
                found = forward.logits("train", rows).float()
        if generator_states(self.device) != before:
            return "a forward pass in evaluation mode draws random numbers"
        return _differ("the logits in evaluation mode", expected, found)

    def _see(self, forward: Forward, rows: Tensor) -> Seen:
        self.model.zero_grad(set_to_none=True)
        before, held = generator_states(self.device), held_by(self.model)
        logits = forward.logits("train", rows).float()
        trouble = _held_differs(held, held_by(self.model))
        drawn = generator_states(self.device)
        self.draws = self.draws or drawn != before
        loss = loss_of(logits, forward.labels("train", rows), self.strategy.extra_loss(self.model))
        loss.backward()
        return Seen(logits.detach(), float(loss.detach()), self.planned.gradients(self.model), drawn, trouble)


@dataclass
class PlannedSide:
    """A plan's forward, and how the model must be changed while it is used."""

    forward: Forward
    enter: Callable[[], None] = lambda: None
    leave: Callable[[], None] = lambda: None
    whole: Callable[[str, Tensor], Tensor] = lambda name, gradient: gradient

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While the forward is used."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def gradients(self, model: GPTModel) -> dict[str, Tensor]:
        """Those of the parameters that train, as the whole model has them."""
        return {
            name: self.whole(name, parameter.grad.detach().clone())
            for name, parameter in model.named_parameters()
            if parameter.grad is not None
        }


def _held_differs(before: dict[str, Any], after: dict[str, Any]) -> str | None:
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return f"{changed[0]} changes from one call to the next" if changed else None


def _differ(what: str, expected: Tensor, found: Tensor, same: float = SAME) -> str | None:
    scale = max(1.0, float(expected.nan_to_num(posinf=0, neginf=0).abs().max()))
    if expected.shape == found.shape and torch.allclose(
        expected, found, rtol=0, atol=same * scale, equal_nan=True
    ):
        return None
    if expected.shape != found.shape:
        return f"{what} have another shape"
    return f"{what} differ by {float((expected - found).abs().max()):.2g}"


def _seen_differ(expected: Seen, found: Seen) -> str | None:
    if expected.drawn != found.drawn:
        return "a forward pass draws random numbers, in another order or number"
    if why := _differ("the logits", expected.logits, found.logits):
        return why
    if not abs(expected.loss - found.loss) <= SAME * max(1.0, abs(expected.loss)):
        return f"the losses differ by {abs(expected.loss - found.loss):.2g}"
    largest = max((float(each.abs().max()) for each in expected.gradients.values()), default=0.0)
    for name in expected.gradients.keys() | found.gradients.keys():
        own, other = expected.gradients.get(name), found.gradients.get(name)
        own = torch.zeros_like(other) if own is None and other is not None else own
        other = torch.zeros_like(own) if other is None and own is not None else other
        assert own is not None and other is not None
        allowed = max(SAME_GRADIENT * float(own.abs().max()), NO_GRADIENT * largest)
        if own.shape != other.shape or not float((own - other).abs().max()) <= allowed:
            return f"the gradient of {name} differs"
    return None


@contextmanager
def full_precision(device: str) -> Iterator[None]:
    """Products in fp32, whatever the run's precision: what is compared must agree to rounding."""
    before = torch.backends.cuda.matmul.allow_tf32
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        if device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = before


class disturbed:
    """Parameters with noise added inside a ``with`` block, bit-equal to before after it."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters

    def __enter__(self) -> None:
        self.kept = [parameter.detach().clone() for parameter in self.parameters]
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters:
            noise = NOISE * torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(noise.to(parameter.device))

    def __exit__(self, *exception: object) -> None:
        for parameter, kept in zip(self.parameters, self.kept, strict=True):
            parameter.data.copy_(kept)


class Watch:
    """What a plan relies on while the strategy's own code runs: the model's parts, and tensors that must not move.

    Raises (its methods):
        PlanFailed: one of them has changed.
    """

    def __init__(self, model: GPTModel, strategy: Strategy, facts: Facts) -> None:
        self.model, self.strategy = model, strategy
        if look(model, strategy) != facts:
            raise PlanFailed("the strategy did not make the same model twice")
        self.facts = facts
        self._parts = [(module, outline(module)) for module in model.modules()]
        # Where the strategy may change after a step what trains, nothing that was computed is kept.
        self._still = [] if "after_step" in facts.overrides else list(_frozen(model))
        self._versions = [tensor._version for _, tensor in self._still]
        self._checksums = self._sums()

    def check(self) -> None:
        """After a step: what can be seen in a fraction of a millisecond."""
        if why := patched():
            raise PlanFailed(why)
        for module, before in self._parts:
            if outline(module) != before:
                raise PlanFailed(f"a {type(module).__name__} was changed during the training")
        for (name, tensor), version in zip(self._still, self._versions, strict=True):
            if tensor.requires_grad or tensor._version != version:
                how = "was unfrozen" if tensor.requires_grad else "was written to"
                raise PlanFailed(f"{name}, which is frozen, {how} during the training")

    def check_end(self) -> None:
        """After the last step; also finds what was written to behind torch's back."""
        self.check()
        if look(self.model, self.strategy) != self.facts:
            raise PlanFailed("the model was changed during the training")
        for (name, _), before, now in zip(self._still, self._checksums, self._sums(), strict=True):
            if before != now:
                raise PlanFailed(f"{name}, which is frozen, was written to during the training")

    def _sums(self) -> list[int]:
        return [crc32(tensor.detach().cpu().numpy().tobytes()) for _, tensor in self._still]


def _frozen(model: GPTModel) -> Iterator[tuple[str, nn.Parameter]]:
    """The frozen parameters of the model's own parts."""
    for place, module in model.named_modules():
        if type(module) in AS_DEFINED:
            for name, parameter in module.named_parameters(recurse=False):
                if not parameter.requires_grad:
                    yield f"{place}.{name}", parameter
