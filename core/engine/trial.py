"""The trial of a plan: on which model and which messages it is compared with the reference path."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headtohead.core.classifier import trained_names
from headtohead.core.engine.embedding import CompactEmbedding
from headtohead.core.engine.facts import Facts, look
from headtohead.core.engine.forward import ReferenceForward
from headtohead.core.engine.meter import Meter
from headtohead.core.engine.options import OnProgress
from headtohead.core.engine.plan import Plan, reference
from headtohead.core.engine.prefix import Stored
from headtohead.core.engine.verify import Comparison, PlannedSide, Verdict, Watch, full_precision
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy
from headtohead.core.training import training_loss

if TYPE_CHECKING:
    from headtohead.core.engine.engine import Engine

MANY = 64  # messages that a plan evaluates in one call


class Trial:
    """A model at the begin of its training, the plan that follows from it, and how far that agrees.

    Args:
        engine: gives the protocol, the messages, and what is allowed.
        model: as the strategy was applied. Where its training runs code of the strategy's own, it is used up:
            a first step is taken with it.
        applied: the facts of the model.

    Attributes:
        plan: what follows from the model when its training begins.
        facts: of the model then.
        draws: a step was seen to draw random numbers.
    """

    plan: Plan
    draws = False

    def __init__(self, engine: "Engine", model: GPTModel, strategy: Strategy, applied: Facts) -> None:
        self.engine, self.model, self.strategy, self.facts = engine, model, strategy, applied
        self.plain = applied.plain
        if self.plain:
            self.plan = engine.plan_of(model, strategy)
            return
        parts = [id(module) for module in model.modules()]
        self.optimizer = engine.optimizer_of(model, strategy, fused=engine.allowed.fused_optimizer)
        strategy.before_training(model, engine.config.epochs, engine.updates_per_epoch)
        self.facts = look(model, strategy)
        if parts == [id(module) for module in model.modules()]:
            self.plan = engine.plan_of(model, strategy)
        else:
            self.plan = reference("before_training replaces parts of the model")

    def difference(self, stored: Stored | None) -> str | None:
        """The first difference between the plan and the reference path; None where they agree.

        Args:
            stored: the hidden states at the plan's cut.
        """
        try:
            with full_precision(self.engine.options.device):
                return self._difference(stored)
        except Exception as error:  # noqa: BLE001 - whatever the plan raises, the reference path may not
            return first_line(error)

    def _difference(self, stored: Stored | None) -> str | None:
        rows = self._rows()
        comparison = self._comparison(stored, rows)
        try:
            return self._compare(comparison)
        finally:
            self.draws = comparison.draws

    def _compare(self, comparison: Comparison) -> str | None:
        why = comparison.difference(disturb=not self.plain)
        if self.plain or why:
            return why
        if why := comparison.step_difference(self.optimizer):
            return why
        watch = Watch(self.model, self.strategy, self.facts)
        self._step(comparison, comparison.rows[0])
        watch.check_end()
        if "after_step" in self.facts.overrides:  # which may train any of these from some step on
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.requires_grad_(True)
        return comparison.difference(disturb=True)

    @property
    def rows(self) -> Tensor:
        """All rows of train that are compared."""
        return torch.cat([*self._rows(), self._many()])

    def _many(self) -> Tensor:
        """Rows that are evaluated in one call."""
        # The engine's blocks flatten messages to tokens; only the model's own modules see how many messages they get.
        count = 2 * self.engine.config.batch_size if self.plan.restructured else MANY
        return torch.arange(0 if self.plain else min(count, len(self.engine.dataset.train)))

    def _rows(self) -> list[Tensor]:
        """Batches of rows: short and long messages together, and where messages keep their lengths, short ones."""
        order = torch.argsort(self.engine.dataset.train.last_position, stable=True)
        if self.plain:
            return [order[[0, -1]]]
        size = min(self.engine.config.batch_size, len(order))
        spread = order[torch.linspace(0, len(order) - 1, size).long()]
        return [spread] if self.engine.sequences.equal_length is not None else [spread, order[:size]]

    def _comparison(self, stored: Stored | None, rows: Sequence[Tensor]) -> Comparison:
        engine, device = self.engine, self.engine.options.device
        own = ReferenceForward(self.model, engine.dataset, engine.config, device)
        return Comparison(self.model, self.strategy, own, self._planned(stored), rows, self._many(), device)

    def _planned(self, stored: Stored | None) -> PlannedSide:
        engine, model = self.engine, self.model
        if not self.plan.compact_embedding:
            return PlannedSide(
                engine.forward_of(model, self.strategy, self.plan, stored, engine.sequences, trial=True)
            )
        compact = CompactEmbedding(model, engine.sequences)
        forward = engine.forward_of(model, self.strategy, self.plan, stored, compact.sequences, trial=True)
        compact.expand(1.0, 0)

        def whole(name: str, gradient: Tensor) -> Tensor:
            short = name == "tok_emb.weight" and len(gradient) == len(compact.used)
            return compact.all_rows(gradient) if short else gradient

        return PlannedSide(forward, compact.shrink, lambda: compact.expand(1.0, 0), whole)

    def _step(self, comparison: Comparison, rows: Tensor) -> None:
        """The first step of a run, by the reference path."""
        self.model.train()
        self.optimizer.zero_grad()
        training_loss(self.model, self.strategy, comparison.reference, rows).backward()
        self.optimizer.step()
        self.strategy.after_step(self.model, 0)
        comparison.planned.forward.parameters_changed()


def verified(
    engine: "Engine",
    strategy: Strategy,
    model: GPTModel,
    applied: Facts,
    meter: Meter,
    on_progress: OnProgress,
) -> Verdict:
    """The plan for a run, compared with the reference path on this model, or that path with the reason.

    A model whose training runs nothing but the packages' own code is left as it was, and all runs that train
    the same of it share what was found. Any other is used up.
    """
    with meter.measure("setup"):
        try:
            trial = Trial(engine, model, strategy, applied)
        except Exception as error:  # noqa: BLE001 - the run itself will show it
            return Verdict(reference(f"the strategy could not be tried: {first_line(error)}"))
    if not (trial.plan.cut or trial.plan.restructured):
        return Verdict(trial.plan)
    kind = (trial.plan, frozenset(trained_names(model)))
    if applied.plain and kind in engine.agreed:
        return Verdict(trial.plan)
    stored = engine.hidden_states(trial.plan.cut, on_progress) if trial.plan.cut else None
    with meter.measure("setup"):
        if stored and engine.options.half_prefix:  # the plan is what is compared, not its rounding
            numbers = engine.sequences.of_row["train"][trial.rows].unique()
            stored = engine.prefix.exact(trial.plan.cut, numbers, engine.pretrained.build())
        why = trial.difference(stored)
    if why:
        return Verdict(reference(f"a plan with less work did not agree with it: {why}"))
    if applied.plain:
        engine.agreed.add(kind)
        return Verdict(trial.plan)
    return Verdict(trial.plan, trial.facts, trial.draws)


def first_line(error: Exception) -> str:
    """An error in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
