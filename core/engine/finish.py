"""The end of a run: its classifier saved, reloaded and evaluated, and what was measured of it."""

from typing import TYPE_CHECKING

from torch import Tensor

from headtohead.core.classifier import (
    describe_classifier,
    load_tensors,
    rebuild,
    save_classifier,
    size_on_disk,
    untrained_differences,
)
from headtohead.core.engine.facts import look
from headtohead.core.engine.forgetting import forgetting
from headtohead.core.engine.options import Outcome
from headtohead.core.engine.plan import reference
from headtohead.core.errors import TrainingError
from headtohead.core.training import Evaluation, Forward, History, evaluate

if TYPE_CHECKING:
    from headtohead.core.engine.engine import Engine
    from headtohead.core.engine.fit import TrainingRun

SAME_LOGITS = 1e-4  # a reloaded classifier may differ from the trained one by rounding, not more


def finish_run(engine: "Engine", run: "TrainingRun", history: History) -> Outcome:
    """Save a trained run, reload it onto a base with another random head, and evaluate the reloaded one.

    A trial is evaluated as it is, on validation and as many batches of train as the protocol measures on, and
    nothing of it is saved.
    """
    meter, peak = run.meter, run.meter.peak_memory_bytes()
    above_model = meter.memory_above_model_bytes()
    batches = history.final_batches
    with meter.measure("eval"):
        some = None if engine.part.test else engine.config.evaluate_batches
        train_result = evaluate(run.forward, "train", batches["train"][:some])
        validation_result = evaluate(run.forward, "validation", batches["validation"])
        test_result, warnings = _tested(engine, run, batches["test"]) if engine.part.test else (None, [])
    if not meter.exact_peak:
        warnings.append("peak memory covers earlier runs of this process, too")
    before, after = forgetting(engine, run)
    compact_rows = len(run.compact.used) if run.compact else None
    words = engine.words(run.plan, run.stored, compact_rows)
    return Outcome(
        history=history,
        train=train_result,
        validation=validation_result,
        test=test_result,
        trainable_params=run.trainable_params,
        total_params=run.total_params,
        classifier_bytes=size_on_disk(run.job.directory) if engine.part.test else None,
        plan=run.plan.as_dict(words),
        setup_seconds=meter.seconds["setup"],
        prefix_seconds=run.stored.seconds if run.stored else None,
        train_seconds=meter.seconds["train"],
        eval_seconds=meter.seconds["eval"],
        peak_memory_bytes=peak,
        memory_above_model_bytes=above_model,
        before={str(name): accuracy for name, accuracy in run.before.items()},
        warnings=warnings,
        train_joules=meter.joules.get("train"),
        language_loss_before=before,
        language_loss_after=after,
    )


def _tested(engine: "Engine", run: "TrainingRun", batches: list[Tensor]) -> tuple[Evaluation, list[str]]:
    """The saved and reloaded classifier on test, and what is to be said of its file."""
    reloaded, warnings = _save_and_reload(engine, run)
    result = evaluate(reloaded, "test", batches)
    if engine.options.precision != "bf16":
        _check_reproduced(evaluate(run.forward, "test", batches[:1]), result)
        return result, warnings
    # How bfloat16 rounds depends on how rows are batched; what is asked here is whether the weights are the same.
    models = [each for each in (run.model, run.rebuilt) if each is not None]
    ours, theirs = (
        engine.forward_of(each, run.strategy, run.plan, run.stored, engine.sequences, trial=True)
        for each in models
    )
    _check_reproduced(evaluate(ours, "test", batches[:1]), evaluate(theirs, "test", batches[:1]))
    return result, warnings


def _save_and_reload(engine: "Engine", run: "TrainingRun") -> tuple[Forward, list[str]]:
    job = run.job
    info = describe_classifier(
        job.variant,
        engine.pretrained,
        engine.dataset.label_names,
        engine.dataset.max_length,
        engine.config.position,
        job.seed,
        engine.config.outputs,
    )
    if run.rebuilt is None:
        with engine.drawing:
            run.rebuilt = rebuild(
                engine.pretrained, run.strategy, engine.n_classes, job.seed + 1, engine.config.outputs
            )
        run.untrained = untrained_differences(run.model, run.rebuilt)
    info = save_classifier(job.directory, run.model, run.untrained, info)
    load_tensors(job.directory, run.rebuilt, info)
    run.rebuilt.to(engine.options.device)
    same = look(run.rebuilt, run.strategy) == run.applied
    plan = run.plan if same else reference("the reloaded classifier is put together in another way")
    forward = engine.forward_of(run.rebuilt, run.strategy, plan, run.stored, engine.sequences)
    return forward, _warnings(run.untrained)


def _check_reproduced(trained: Evaluation, reloaded: Evaluation) -> None:
    difference = float((trained.logits - reloaded.logits[: len(trained.logits)]).abs().max())
    if not difference <= SAME_LOGITS:
        raise TrainingError(
            f"the saved classifier does not reproduce the trained one (its logits differ by {difference:g})"
        )


def _warnings(untrained: list[str]) -> list[str]:
    if not untrained:
        return []
    return [f"the saved file holds {len(untrained)} tensors that are not trained, such as {untrained[0]}"]
