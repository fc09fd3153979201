"""One run of an experiment, and the folder that it leaves: record.json, history.csv, classifier/."""

import csv
import inspect
import io
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from headtohead.core.engine import WHOLE, Costs, Outcome, Part
from headtohead.core.files import write_text_atomic
from headtohead.core.strategy import Method, Strategy, Variant
from headtohead.core.training import Evaluation, History
from headtohead.experiments.book_log import LOG_FILE, log_of
from headtohead.experiments.identity import code_hash
from headtohead.experiments.metrics import prediction_metrics, probability_metrics, recorded
from headtohead.experiments.record import (
    HISTORY_COLUMNS,
    HISTORY_FILE,
    TRACEBACK_FILE,
    RunRecord,
    run_title,
    save_record,
)


@dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        finished: its record where it need not be run again.
        part: what it gets of the data and of the protocol.
        trial_of: the label for which a trial chooses hyperparameters; None for a run of the comparison.
    """

    variant: Variant
    seed: int
    run_id: str
    finished: RunRecord | None = None
    part: Part = WHOLE
    trial_of: str | None = None

    @property
    def title(self) -> str:
        return run_title(self.variant.label, self.seed, self.part.train_size, self.part.split)


def variant_facts(variant: Variant) -> dict[str, Any]:
    """What is said of a variant in every place where it is described."""
    strategy = variant.strategy
    return {
        "strategy": variant.name,
        "label": variant.label,
        "description": inspect.getdoc(type(strategy)) or "",
        "family": strategy.family,
        "learning_rate": learning_rate(strategy),
        "hyperparameters": asdict(strategy),
    }


def learning_rate(strategy: Method) -> float | None:
    """The learning rate that a strategy trains at; None for a baseline."""
    return strategy.learning_rate if isinstance(strategy, Strategy) else None


def write_folder(
    folder: Path,
    run: Run,
    outcome: Outcome | Exception,
    classifier: Path,
    facts: Mapping[str, Any],
    costs: Costs | None = None,
) -> RunRecord:
    """Make a run's folder; an error becomes a failed record with its traceback beside it.

    Args:
        classifier: where the classifier was saved; it is moved into the folder.
        facts: what the record says of the experiment: model, dataset, train_config, environment ...
        costs: of the variant, where they were measured.
    """
    folder.mkdir(parents=True)
    if isinstance(outcome, Outcome):
        record = _ok_record(run, outcome, {**facts, **_cost_facts(costs)})
        record = replace(
            record, warnings=[*record.warnings, *([costs.problem] if costs and costs.problem else [])]
        )
        _write_history(folder, outcome.history)
        if outcome.classifier_bytes is not None:
            classifier.rename(folder / "classifier")
    else:
        write_text_atomic(folder / TRACEBACK_FILE, "".join(traceback.format_exception(outcome)))
        record = RunRecord(**_run_facts(run, facts), status="failed", error=one_line(outcome))
    save_record(folder, record)
    if record.ok:
        write_text_atomic(folder / LOG_FILE, log_of(folder, record))
    return record


def one_line(error: BaseException) -> str:
    """An exception's type and message on one line, at most 300 characters; the traceback file has all of it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:297] + "..."


def now() -> str:
    """The time as records give it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _run_facts(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says of its run whether it ended well or not."""
    about = variant_facts(run.variant)
    del about["learning_rate"]  # it is one of the hyperparameters
    epochs = run.part.epochs or facts["train_config"]["epochs"]
    return {
        **facts,
        **about,
        "train_config": {**facts["train_config"], "epochs": epochs},
        "role": "run" if run.trial_of is None else "trial",
        "trial_of": run.trial_of,
        "split": run.part.split,
        "train_size": run.part.train_size,
        "run_id": run.run_id,
        "seed": run.seed,
        "code_hash": code_hash(run.variant),
        "created_at": now(),
    }


def _cost_facts(costs: Costs | None) -> dict[str, Any]:
    """What a record says of its variant's costs."""
    if costs is None:
        return {}
    plain, merged = costs.latency, costs.merged
    return {
        "flops_per_step": costs.flops_per_step,
        "latency_ms": plain and plain.one,
        "latency_batch_ms": plain and plain.batch,
        "merged_latency_ms": merged and merged.one,
        "merged_latency_batch_ms": merged and merged.batch,
    }


def _ok_record(run: Run, outcome: Outcome, facts: Mapping[str, Any]) -> RunRecord:
    history = outcome.history
    trainable, total = outcome.trainable_params, outcome.total_params
    about = _run_facts(run, facts)
    return RunRecord(
        **about,
        status="ok",
        plan=outcome.plan,
        warnings=outcome.warnings,
        trainable_params=trainable,
        total_params=total,
        trainable_percent=100 * trainable / total if total else None,
        classifier_bytes=outcome.classifier_bytes,
        first_train_loss=next((row.train_loss for row in history.rows if row.train_loss is not None), None),
        train_loss=outcome.train.loss,
        validation_loss=outcome.validation.loss,
        train_accuracy=outcome.train.accuracy,
        validation_accuracy=outcome.validation.accuracy,
        **_test_facts(outcome.test),
        validation_probabilities=recorded(_probabilities(outcome.validation)),
        train_joules=outcome.train_joules,
        language_loss_before=outcome.language_loss_before,
        language_loss_after=outcome.language_loss_after,
        epochs=about["train_config"]["epochs"] if history.steps else None,
        steps=history.steps,
        examples_seen=history.examples_seen,
        setup_seconds=outcome.setup_seconds,
        prefix_seconds=outcome.prefix_seconds,
        train_seconds=outcome.train_seconds,
        eval_seconds=outcome.eval_seconds,
        total_seconds=outcome.total_seconds,
        examples_per_second=history.examples_seen / outcome.train_seconds if outcome.train_seconds else None,
        peak_memory_bytes=outcome.peak_memory_bytes,
        memory_above_model_bytes=outcome.memory_above_model_bytes,
        selection_seconds=outcome.selection_seconds,
        **_before(outcome),
        grouped=outcome.grouped,
    )


def _probabilities(evaluation: Evaluation) -> np.ndarray:
    """The class probabilities (N, C) of evaluated messages."""
    return evaluation.logits.double().softmax(dim=-1).numpy()


def _before(outcome: Outcome) -> dict[str, Any]:
    """Accuracies of the splits before finetuning."""
    return {f"before_{name}_accuracy": value for name, value in outcome.before.items()}


def _test_facts(test: Evaluation | None) -> dict[str, Any]:
    """What a record says of the test messages; nothing of a trial."""
    if test is None:
        return {}
    labels, n_classes = test.labels.tolist(), test.logits.shape[1]
    probabilities = recorded(_probabilities(test))
    return {
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        **prediction_metrics(labels, test.logits.argmax(dim=-1).tolist(), n_classes),
        **probability_metrics(labels, np.array(probabilities)),
        "test_probabilities": probabilities,
    }


def _write_history(folder: Path, history: History) -> None:
    """history.csv, one line per measurement; what was not measured stays empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HISTORY_COLUMNS)
    for row in history.rows:
        values = (getattr(row, name) for name in HISTORY_COLUMNS)
        writer.writerow("" if value is None else value for value in values)
    write_text_atomic(folder / HISTORY_FILE, text.getvalue())
