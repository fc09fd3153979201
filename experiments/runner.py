"""Runs an experiment: every strategy with every seed, finished runs kept, one failure stopping nothing else.

Each run is written whole or not at all, so an interruption or a crash loses at most the run in flight, and the
same command continues where it stopped.
"""

import csv
import inspect
import io
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import filelock
from rich.console import Console

from headtohead.core.engine import ALL, REFERENCE, Engine, EngineOptions, Job, Outcome, fit_group, groups
from headtohead.core.errors import InputError
from headtohead.core.files import atomic_directory, write_bytes_atomic, write_text_atomic
from headtohead.core.strategy import Method, Strategy, Variant
from headtohead.core.training import History, row_loaders
from headtohead.experiments import console as display
from headtohead.experiments.environment import describe_environment, device_name, resolve_device
from headtohead.experiments.inputs import Inputs, find_inputs
from headtohead.experiments.metrics import prediction_metrics
from headtohead.experiments.progress import work_of
from headtohead.experiments.record import (
    EXPERIMENT_FILE,
    HISTORY_COLUMNS,
    HISTORY_FILE,
    RECORD_FILE,
    SCHEMA_VERSION,
    TRACEBACK_FILE,
    RunRecord,
    load_experiment,
    load_record,
    run_directory,
    save_record,
    to_json,
)
from headtohead.experiments.spec import Experiment, check_name, run_id, safe_name
from headtohead.experiments.statistics import Summary, summarise
from headtohead.experiments.wording import plural
from headtohead.strategies import build_variants

LOCK_FILE = ".lock"


@dataclass(frozen=True)
class Result:
    """How an experiment ended: ``failed`` counts its runs, earlier ones of the same experiment included."""

    directory: Path
    failed: int
    interrupted: bool = False


@dataclass(frozen=True)
class Run:
    """One variant with one seed; ``finished`` is its record where it need not be run again."""

    variant: Variant
    seed: int
    run_id: str
    finished: RunRecord | None


@dataclass(frozen=True)
class Plan:
    """Everything that is known before the first run."""

    experiment: Experiment
    directory: Path
    inputs: Inputs
    engine: Engine
    environment: dict[str, Any]
    runs: tuple[Run, ...]

    @property
    def to_run(self) -> list[Run]:
        return [each for each in self.runs if each.finished is None]


def run(experiment: Experiment, console: Console) -> Result:
    """Do the experiment's unfinished runs and write its report.

    Raises:
        InputError: something that makes the whole experiment impossible; nothing is written then.
    """
    started = time.perf_counter()
    variants = _variants(experiment)
    options = _engine_options(experiment)
    config = experiment.train_config()
    with tempfile.TemporaryDirectory(prefix="headtohead-") as scratch:
        inputs = find_inputs(experiment, Path(scratch))
        row_loaders(
            inputs.dataset, config.batch_size
        )  # a batch that is too large fails here, not in every run
        engine = Engine(inputs.pretrained, inputs.dataset, config, options)
        name = experiment.name or safe_name(f"{inputs.dataset.name}-{inputs.pretrained.name}")
        with _only_writer(experiment.results_dir / name) as directory:
            plan = _plan(experiment, directory, inputs, variants, engine)
            _announce(plan, console)
            _remove_leftovers(directory)
            _write_data(Path(scratch), directory / "data")
            write_text_atomic(directory / EXPERIMENT_FILE, to_json(_description(plan, name)))
            interrupted = _do_runs(plan, console)
            return _finish(plan, console, interrupted, started)


def report_again(results_dir: Path, name: str | None, console: Console) -> None:
    """Write the report of an experiment that was run before.

    Raises:
        InputError: there is no such experiment, or ``name`` is None and there is not exactly one.
    """
    existing = sorted(path.parent.name for path in results_dir.glob(f"*/{EXPERIMENT_FILE}"))
    listed = f"experiments in {results_dir}: {', '.join(existing) or 'none'}"
    if name is None:
        if len(existing) != 1:
            raise InputError(f"--report-only needs --name NAME; {listed}")
        name = existing[0]
    check_name(name)
    if name not in existing:
        raise InputError(f"--report-only: {results_dir / name} holds no experiment; {listed}")
    _report(summarise(load_experiment(results_dir / name)), console, seconds=None)


def _engine_options(experiment: Experiment) -> EngineOptions:
    allowed = REFERENCE if experiment.reference else ALL if experiment.cache else replace(ALL, cut=0)
    return EngineOptions(
        device=resolve_device(experiment.device),
        precision=experiment.precision,
        allowed=allowed,
        cache_dir=experiment.cache_dir,
        cache_budget=experiment.cache_budget,
        compile=experiment.compile,
        together=experiment.together,
    )


# --- before the first run --------------------------------------------------------------------------------------


def _variants(experiment: Experiment) -> list[Variant]:
    try:
        return build_variants(experiment.strategies, experiment.settings, experiment.plugins)
    except InputError:
        raise
    except Exception as error:
        traceback.print_exc()  # the strategy file's own, which is what its author needs
        raise InputError(
            f"a strategy file could not be loaded ({type(error).__name__}: {error}); its traceback is above"
        ) from error


def _plan(
    experiment: Experiment, directory: Path, inputs: Inputs, variants: Sequence[Variant], engine: Engine
) -> Plan:
    runs = []
    for variant in variants:
        for seed in experiment.seeds:
            identity = run_id(variant, seed, engine.config, inputs.dataset, inputs.pretrained, engine.options)
            finished = None if experiment.force else _finished_record(run_directory(directory, identity))
            runs.append(Run(variant, seed, identity, finished))
    environment = describe_environment(engine.options.device)
    return Plan(experiment, directory, inputs, engine, environment, tuple(runs))


def _finished_record(directory: Path) -> RunRecord | None:
    """The record of a run that ended well; a failed one is run again."""
    if not (directory / RECORD_FILE).is_file():
        return None
    record = load_record(directory)
    return record if record.ok else None


def _announce(plan: Plan, console: Console) -> None:
    inputs = plan.inputs
    if inputs.demo_parts:
        display.print_demo(console, inputs.demo_parts, inputs.missing)
    left, total = len(plan.to_run), len(plan.runs)
    finished = f", {total - left} finished already and not run again" if left < total else ""
    dataset, config = inputs.dataset, plan.engine.config
    splits = f"{len(dataset.train):,} / {len(dataset.validation):,} / {len(dataset.test):,} messages"
    facts = {
        "model": f"{inputs.pretrained.name} ({inputs.pretrained.source})",
        "data": f"{dataset.name} ({dataset.source})",
        "": f"{splits} to train / validate / test, {len(dataset.label_names)} classes",
        "protocol": f"{config.epochs} {plural('epoch', config.epochs)}, batches of {config.batch_size}, "
        f"{dataset.max_length} tokens, classified at the {config.position.replace('_', ' ')} token",
        "device": device_name(plan.engine.options.device),
        "seeds": ", ".join(map(str, plan.experiment.seeds)),
        "runs": f"{total}{finished}" + ("" if left else " (--force does them again)"),
        "results": str(plan.directory),
    }
    display.print_plan(console, facts, _plan_rows(plan))


def _plan_rows(plan: Plan) -> list[display.PlanRow]:
    by_label: dict[str, list[Run]] = {}
    for each in plan.runs:
        by_label.setdefault(each.variant.label, []).append(each)
    return [_plan_row(plan.engine, runs) for runs in by_label.values()]


def _plan_row(engine: Engine, runs: Sequence[Run]) -> display.PlanRow:
    variant = runs[0].variant
    row = display.PlanRow(
        label=variant.label,
        trains=variant.strategy.describe(),
        learning_rate=_learning_rate(variant.strategy),
        to_run=sum(each.finished is None for each in runs),
        of=len(runs),
        kept=tuple(each.seed for each in runs if each.finished),
    )
    known = next((each.finished for each in runs if each.finished), None)
    if known is not None:
        return replace(row, trainable=known.trainable_params, total=known.total_params)
    try:
        seen = engine.inspect(variant)
    except Exception as error:  # noqa: BLE001 - shown here; its runs will fail with the same error and be recorded so
        return replace(row, trouble=f"will fail: {_one_line(error)}")
    return replace(row, trainable=seen.trainable_params, total=seen.total_params, how=tuple(seen.words))


@contextmanager
def _only_writer(directory: Path) -> Iterator[Path]:
    """Make the experiment's folder and hold its lock, which the system drops when the process ends in any way."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(directory / LOCK_FILE)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise InputError(
            f"another process is running the experiment {directory}; wait for it to end, or choose another --name"
        ) from None
    except OSError as error:
        raise InputError(
            f"{directory} cannot be written ({error.strerror or error}); choose another --results-dir"
        ) from error
    try:
        yield directory
    finally:
        lock.release()


def _remove_leftovers(directory: Path) -> None:
    """Delete what runs left half-done that were killed or failed; the lock says that nobody else writes here."""
    for leftover in (directory / "runs").glob(".*"):
        shutil.rmtree(leftover)


def _write_data(source: Path, target: Path) -> None:
    for path in sorted(source.glob("*.csv")):
        write_bytes_atomic(target / path.name, path.read_bytes())


def _description(plan: Plan, name: str) -> dict[str, Any]:
    """The content of experiment.json."""
    pretrained, dataset = plan.inputs.pretrained, plan.inputs.dataset
    variants = {each.variant.label: each.variant for each in plan.runs}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "command": plan.experiment.command,
        "created_at": _now(),
        "strategies": [_variant_facts(variant) for variant in variants.values()],
        "seeds": list(plan.experiment.seeds),
        "run_ids": [each.run_id for each in plan.runs],
        "model": {
            "name": pretrained.name,
            "source": pretrained.source,
            "sha256": pretrained.sha256,
            "config": asdict(pretrained.config),
            "is_demo": pretrained.is_demo,
        },
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "sha256": dataset.sha256,
            "label_names": list(dataset.label_names),
            "rows": {
                "train": len(dataset.train),
                "validation": len(dataset.validation),
                "test": len(dataset.test),
            },
            "max_length": dataset.max_length,
            "is_demo": dataset.is_demo,
            "test_texts_seen_in_train": dataset.test_texts_seen_in_train,
        },
        "train_config": asdict(plan.engine.config),
        "environment": plan.environment,
    }


def _variant_facts(variant: Variant) -> dict[str, Any]:
    strategy = variant.strategy
    return {
        "strategy": variant.name,
        "label": variant.label,
        "description": inspect.getdoc(type(strategy)) or "",
        "family": strategy.family,
        "learning_rate": _learning_rate(strategy),
        "hyperparameters": asdict(strategy),
    }


def _learning_rate(strategy: Method) -> float | None:
    return strategy.learning_rate if isinstance(strategy, Strategy) else None


# --- the runs --------------------------------------------------------------------------------------------------


def _do_runs(plan: Plan, console: Console) -> bool:
    """Do what is left to do; True if the user interrupted it."""
    if not plan.to_run:
        console.print("Nothing to train: every run of this experiment is finished.")
        return False
    jobs = {_job(plan, each): each for each in plan.to_run}
    works = groups(plan.engine, list(jobs))
    known = {each.variant.label: each.finished.total_seconds for each in plan.runs if each.finished}
    costs = [work_of(plan.engine, group, known) for group in works]
    with display.run_progress(console, costs, len(jobs)) as progress:
        try:
            for group in works:
                progress.begin([f"{job.variant.label}, seed {job.seed}" for job in group])
                for job, outcome in fit_group(plan.engine, group, progress.step):
                    progress.end(_publish(plan, jobs[job], job, outcome))
        except KeyboardInterrupt:
            return True
        finally:
            _remove_leftovers(plan.directory)
    return False


def _job(plan: Plan, each: Run) -> Job:
    """The run as the engine does it; its classifier waits in a hidden folder until the run is complete."""
    directory = run_directory(plan.directory, each.run_id)
    return Job(each.variant, each.seed, directory.with_name(f".{each.run_id}.classifier"))


def _publish(plan: Plan, each: Run, job: Job, outcome: Outcome | Exception) -> RunRecord:
    """Write a run's folder, which appears when it is complete; an error becomes a failed record."""
    with atomic_directory(run_directory(plan.directory, each.run_id)) as folder:
        if isinstance(outcome, Outcome):
            record = _ok_record(plan, each, outcome)
            _write_history(folder, outcome.history)
            if outcome.classifier_bytes is not None:
                job.directory.rename(folder / "classifier")
        else:
            write_text_atomic(folder / TRACEBACK_FILE, "".join(traceback.format_exception(outcome)))
            record = RunRecord(**_run_facts(plan, each), status="failed", error=_one_line(outcome))
        save_record(folder, record)
    return record


def _ok_record(plan: Plan, each: Run, outcome: Outcome) -> RunRecord:
    test, history = outcome.test, outcome.history
    trainable, total = outcome.trainable_params, outcome.total_params
    n_classes = len(plan.inputs.dataset.label_names)
    return RunRecord(
        **_run_facts(plan, each),
        status="ok",
        plan=outcome.plan,
        warnings=outcome.warnings,
        trainable_params=trainable,
        total_params=total,
        trainable_percent=100 * trainable / total if total else None,
        classifier_bytes=outcome.classifier_bytes,
        train_accuracy=outcome.train.accuracy,
        validation_accuracy=outcome.validation.accuracy,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        **prediction_metrics(test.labels.tolist(), test.logits.argmax(dim=-1).tolist(), n_classes),
        epochs=plan.engine.config.epochs if history.steps else None,
        steps=history.steps,
        examples_seen=history.examples_seen,
        setup_seconds=outcome.setup_seconds,
        prefix_seconds=outcome.prefix_seconds,
        train_seconds=outcome.train_seconds,
        eval_seconds=outcome.eval_seconds,
        total_seconds=outcome.total_seconds,
        examples_per_second=history.examples_seen / outcome.train_seconds if outcome.train_seconds else None,
        peak_memory_bytes=outcome.peak_memory_bytes,
        grouped=outcome.grouped,
    )


def _run_facts(plan: Plan, each: Run) -> dict[str, Any]:
    """What a record says of its run whether it ended well or not."""
    facts = _variant_facts(each.variant)
    del facts["learning_rate"]  # it is one of the hyperparameters
    return {
        **facts,
        "run_id": each.run_id,
        "seed": each.seed,
        "model": plan.inputs.pretrained.name,
        "model_sha256": plan.inputs.pretrained.sha256,
        "dataset": plan.inputs.dataset.name,
        "dataset_sha256": plan.inputs.dataset.sha256,
        "train_config": asdict(plan.engine.config),
        "environment": plan.environment,
        "created_at": _now(),
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


def _one_line(error: BaseException) -> str:
    """An exception's type and message on one line, at most 300 characters; the traceback file has all of it."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 300 else text[:297] + "..."


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


# --- after the last run ----------------------------------------------------------------------------------------


def _finish(plan: Plan, console: Console, interrupted: bool, started: float) -> Result:
    """Write and show the report of what is finished, and say what is not."""
    summary = summarise(load_experiment(plan.directory))
    finished = len(summary.experiment.records)
    if finished:
        _report(summary, console, time.perf_counter() - started)
    if interrupted:
        kept = f"{finished} of {len(plan.runs)} runs are finished and kept"
        console.print(f"Interrupted: {kept}; the same command continues.", style="bold yellow")
    return Result(plan.directory, len(summary.failed), interrupted)


def _report(summary: Summary, console: Console, seconds: float | None) -> None:
    from headtohead.experiments.report import write_report

    display.print_end(console, summary, write_report(summary), seconds)
