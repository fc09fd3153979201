"""One run: prepared, trained by the events of its protocol, and finished."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from headtohead.core.classifier import make_classifier
from headtohead.core.engine.embedding import CompactEmbedding, decay_per_step
from headtohead.core.engine.facts import Facts, look
from headtohead.core.engine.finish import finish_run
from headtohead.core.engine.meter import Meter
from headtohead.core.engine.options import Job, OnProgress, Outcome
from headtohead.core.engine.outside import Outside
from headtohead.core.engine.plan import REFERENCE, Plan, reference
from headtohead.core.engine.prefix import Stored
from headtohead.core.engine.trial import verified
from headtohead.core.engine.verify import Verdict, Watch
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, count_parameters, trainable_parameters
from headtohead.core.training import (
    Event,
    Forward,
    History,
    Progress,
    SplitName,
    batches_of,
    evaluate,
    protocol,
    train,
)

if TYPE_CHECKING:
    from headtohead.core.engine.engine import Engine

FIRST_BATCHES = 10  # of each split, for the accuracy before training, as in the chapter


@dataclass
class TrainingRun:
    """A model being finetuned: what is trained, how it is computed, and what it has measured."""

    job: Job
    strategy: Strategy
    model: GPTModel
    plan: Plan
    stored: Stored | None
    meter: Meter
    forward: Forward
    compact: CompactEmbedding | None
    trainable_params: int
    total_params: int
    applied: Facts  # of the model as the strategy was applied, which a reloaded one must share
    verdict: Verdict  # on the plan
    rebuilt: GPTModel | None = None  # for reloading; runs that train the head alone share one
    before: dict[SplitName, float] = field(default_factory=dict)  # accuracy before the first step
    untrained: list[str] = field(default_factory=list)  # tensors that are saved although they are not trained


def fit_run(engine: "Engine", job: Job, on_progress: OnProgress, distrust: str | None = None) -> Outcome:
    """One run; ``distrust`` as in :func:`prepare_run`."""
    run = prepare_run(engine, job, on_progress, distrust)
    torch.manual_seed(job.seed)
    events = protocol(engine.loaders(job.seed), engine.config)
    return finish_run(engine, run, train_run(engine, run, events, on_progress))


def prepare_run(
    engine: "Engine", job: Job, on_progress: OnProgress, distrust: str | None = None
) -> TrainingRun:
    """A fresh model with its verified plan, ready to be trained; missing hidden states are computed.

    Args:
        distrust: why the reference path is to be taken, where a plan has failed already.
    """
    strategy = job.variant.strategy
    assert isinstance(strategy, Strategy)
    meter = Meter(engine.options.device)
    with engine.drawing:
        outside = Outside(strategy, engine.options.device)
        with meter.measure("setup"):
            model = _classifier(engine, strategy, job.seed)
            applied = look(model, strategy)
            counts = count_parameters(trainable_parameters(model)), count_parameters(model.parameters())
        if known := REFERENCE if engine.options.reference else distrust and reference(distrust):
            verdict = Verdict(known)
        else:
            verdict = verified(engine, strategy, model, applied, meter, on_progress)
        if not (known or applied.plain):  # the trial has used the model up
            moved = outside.put_back()
            if moved and (verdict.plan.cut or verdict.plan.restructured):
                verdict = Verdict(reference(f"the strategy keeps {moved} outside of its model"))
            with meter.measure("setup"):
                del model
                model = _classifier(engine, strategy, job.seed)
                meter.forget_peak()
    plan = verdict.plan
    stored = engine.hidden_states(plan.cut, on_progress) if plan.cut else None
    with meter.measure("setup"):
        compact = CompactEmbedding(model, engine.sequences) if plan.compact_embedding else None
        sequences = compact.sequences if compact else engine.sequences
        forward = engine.forward_of(model, strategy, plan, stored, sequences)
    with meter.measure("eval"):
        model.eval()
        before = starting_accuracy(engine, forward, job.seed)
        forward.parameters_changed()
    return TrainingRun(
        job,
        strategy,
        model,
        plan,
        stored,
        meter,
        forward,
        compact,
        *counts,
        applied,
        verdict,
        before=before,
    )


def _classifier(engine: "Engine", strategy: Strategy, seed: int) -> GPTModel:
    """The model of a run as its seed and its strategy make it, before its training."""
    model = engine.pretrained.build()
    make_classifier(model, strategy, engine.n_classes, seed, engine.config.outputs)
    return model.to(engine.options.device)


def starting_accuracy(engine: "Engine", forward: Forward, seed: int) -> dict[SplitName, float]:
    """The accuracy of each split before the first step, on as many batches as the chapter takes.

    The batches are those of the chapter, drawn after ``manual_seed(seed)``; the generator is left as it was.
    """
    with engine.drawing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaders = engine.loaders(seed)
        batches = {name: batches_of(loader, FIRST_BATCHES) for name, loader in loaders.items()}
    return {name: evaluate(forward, name, rows).accuracy for name, rows in batches.items()}


def train_run(
    engine: "Engine", run: TrainingRun, events: Iterable[Event], on_progress: OnProgress
) -> History:
    """Train a prepared run by the events of its protocol, drawn from a generator seeded for it.

    Raises:
        PlanFailed: what the run's plan relies on has changed; the run must be done by the reference path.
    """
    strategy, model = run.strategy, run.model
    run.meter.start_training()
    with run.meter.measure("train"):
        optimizer = engine.optimizer_of(model, strategy, fused=run.plan.fused_optimizer)
        strategy.before_training(model, engine.config.epochs, engine.updates_per_epoch)
        watch = Watch(model, strategy, run.verdict.facts) if run.verdict.facts else None

        def on_step(progress: Progress) -> None:
            if watch is not None:
                watch.check()
            on_progress(progress)

        total_steps = engine.config.epochs * engine.steps_per_epoch
        history = train(
            model,
            strategy,
            run.forward,
            optimizer,
            events,
            total_steps,
            on_step,
            engine.class_weights,
            engine.config.accumulation_steps,
        )
        if watch is not None:
            watch.check_end()
        model.zero_grad(set_to_none=True)
        if run.compact is not None:
            run.compact.expand(decay_per_step(optimizer, model.tok_emb.weight), history.updates)
            run.forward = engine.forward_of(model, strategy, run.plan, run.stored, engine.sequences)
    return history
