"""Runs an experiment: every strategy with every seed, finished runs kept, one failure stopping nothing else.

Each run is written whole or not at all, so an interruption or a crash loses at most the run in flight, and the
same command continues where it stopped.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import filelock

from headtohead.core.device import resolve_device
from headtohead.core.engine import ALL, REFERENCE, WHOLE, Engine, EngineOptions, Part
from headtohead.core.errors import InputError
from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import row_loaders
from headtohead.experiments.environment import describe_environment
from headtohead.experiments.estimate import Estimate, choose_seeds, estimate_runs
from headtohead.experiments.folder import EXPERIMENT_FILE, load_experiment, read_description
from headtohead.experiments.identity import git_state, run_id
from headtohead.experiments.inputs import Inputs, find_inputs
from headtohead.experiments.launchers.local import LocalLauncher
from headtohead.experiments.record import (
    RECORD_FILE,
    SCHEMA_VERSION,
    RunRecord,
    load_record,
    run_directory,
    to_json,
)
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.runs import Run, now, variant_facts
from headtohead.experiments.spec import (
    PRESET_RATES,
    TUNE_SEED,
    EngineSettings,
    Experiment,
    check_name,
    safe_name,
)
from headtohead.experiments.statistics import Summary, summarise
from headtohead.experiments.tuning import Candidates, Tuning, candidates
from headtohead.experiments.watch import Watcher
from headtohead.strategies import build_variants

LOCK_FILE = ".lock"
SCRATCH = ".scratch"  # below the experiment's folder; what a killed process left there goes with the next run


@dataclass(frozen=True)
class Agenda:
    """Everything that is known before the first run.

    Attributes:
        directory: the experiment's folder.
        runs: in the order of the labels, then of the seeds; before the trials of a tuning, at the defaults.
        aside: more runs, for other parts of the report than the comparison.
        estimate: what the runs that are left will take, roughly, the trials included.
        tuning: what is tried first, where something is.
        trials: the runs of the tuning that are known so far.
    """

    experiment: Experiment
    directory: Path
    inputs: Inputs
    engine: Engine
    environment: dict[str, Any]
    runs: tuple[Run, ...]
    estimate: Estimate
    aside: tuple[Run, ...] = ()
    tuning: Tuning | None = None
    trials: tuple[Run, ...] = ()

    @property
    def to_run(self) -> list[Run]:
        return [each for each in (*self.runs, *self.aside) if each.finished is None]

    @property
    def command(self) -> str:
        """The command that does the same again: what fell back to the demo is named in it."""
        stand_ins = "".join(f" --{part} demo" for part in self.inputs.replaced)
        return self.experiment.command + stand_ins


def compare(experiment: Experiment, watch: Watcher | None = None) -> Summary:
    """Do the experiment's unfinished runs, write its report, and return what it says.

    A run that fails is a row of the summary; KeyboardInterrupt is raised again after the report of what is finished.

    Raises:
        InputError: something that makes the whole experiment impossible; nothing is written then.
    """
    watch = watch or Watcher()
    started = time.perf_counter()
    agenda = plan(experiment)
    with _only_writer(agenda.directory):
        agenda = _without_finished(agenda)
        watch.planned(agenda)
        _write_description(agenda)
        agenda, interrupted = _tune(agenda, watch)
        interrupted = interrupted or _do_runs(agenda, watch)
        summary = _report(agenda.directory, watch, time.perf_counter() - started)
    if interrupted:
        asked = {run.run_id for run in agenda.runs}
        kept = sum(path.name in asked for path in (agenda.directory / "runs").iterdir())
        watch.interrupted(kept, len(agenda.runs))
        raise KeyboardInterrupt
    return summary


def plan(experiment: Experiment) -> Agenda:
    """What an experiment would do; writes nothing.

    Raises:
        InputError: as :func:`compare`.
    """
    build_variants(experiment.strategies, experiment.settings, experiment.plugins)  # mistakes first
    config = experiment.training.train_config()
    # Where settings are tried accuracies are compared, not times, so a small model's idle cores may be used.
    options = replace(_engine_options(experiment.engine), spread=experiment.tuning.any)
    inputs = find_inputs(experiment)
    settings = (*preset_rates(experiment, inputs), *experiment.settings)
    variants = build_variants(experiment.strategies, settings, experiment.plugins)
    for variant in variants:
        if isinstance(variant.strategy, Strategy):
            variant.strategy.check(inputs.pretrained.config)
    row_loaders(inputs.dataset, config.batch_size)  # a batch that is too large fails here, not in every run
    engine = Engine(inputs.pretrained, inputs.dataset, config, options)
    seeds = choose_seeds(engine, variants, experiment.seeds)
    tuning = _tuning(experiment, variants, engine)
    runs = tuple(_run(engine, variant, seed) for variant in variants for seed in seeds)
    trials = _trial_runs(engine, tuning, tuning.first_round()) if tuning else ()
    environment = describe_environment(options.device)
    directory = _directory(experiment, inputs)
    aside = _partial_runs(experiment, engine, variants, seeds)
    agenda = Agenda(
        experiment, directory, inputs, engine, environment, runs, Estimate(0), aside, tuning, trials
    )
    return replace(agenda, estimate=_estimate(agenda))


def preset_rates(experiment: Experiment, inputs: Inputs) -> list[str]:
    """The learning rates of the preset as settings of the strategies that are compared; a user's own replace them."""
    preset = experiment.preset or ("demo" if inputs.pretrained.is_demo else "book")
    names = {label.partition("@")[0] for label in experiment.strategies}
    own = {setting.partition("=")[0].strip() for setting in experiment.settings}
    rates = {f"{name}.learning_rate": rate for name, rate in PRESET_RATES[preset].items() if name in names}
    return [f"{place}={rate}" for place, rate in rates.items() if place not in own]


def report_again(
    results_dir: Path, name: str | None, watch: Watcher | None = None, asked: ReportSettings | None = None
) -> Summary:
    """Write the report of an experiment that was run before; what is ``asked`` now comes before what was asked then.

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
    return _report(results_dir / name, watch or Watcher(), None, asked)


# --- before the first run --------------------------------------------------------------------------------------


def _engine_options(settings: EngineSettings) -> EngineOptions:
    allowed = REFERENCE if settings.reference else ALL if settings.cache else replace(ALL, cut=0)
    return EngineOptions(
        device=resolve_device(settings.device),
        precision=settings.precision,
        allowed=allowed,
        cache_dir=settings.cache_dir,
        cache_budget=settings.cache_budget,
        compile=settings.compile,
        together=settings.together,
    )


def _run(engine: Engine, variant: Variant, seed: int, part: Part = WHOLE, trial_of: str | None = None) -> Run:
    """A run with its identity."""
    config = engine.of(part).config
    identity = run_id(variant, seed, config, engine.dataset, engine.pretrained, engine.options, part)
    return Run(variant, seed, identity, None, part, trial_of)


def _partial_runs(
    experiment: Experiment, engine: Engine, variants: Sequence[Variant], seeds: Sequence[int]
) -> tuple[Run, ...]:
    """The runs on subsets of the training messages, the smallest first, and on other splits.

    Raises:
        InputError: a subset that is smaller than a batch, or larger than the training split.
    """
    batch, rows = engine.config.batch_size, len(engine.dataset.train)
    for size in experiment.data.train_sizes:
        if not batch <= size <= rows:
            raise InputError(
                f"--train-sizes {size}: must be at least one batch, {batch}, and at most the {rows} messages of the "
                "training split"
            )
    parts = [Part(train_size=size) for size in experiment.data.train_sizes if size < rows]
    parts += [Part(split=name) for name in experiment.data.splits]
    return tuple(
        _run(engine, variant, seed, part) for part in parts for variant in variants for seed in seeds
    )


def _tuning(experiment: Experiment, variants: Sequence[Variant], engine: Engine) -> Tuning | None:
    """What is to be tried; None where nothing is."""
    wanted = experiment.tuning
    if not wanted.any:
        return None
    found = candidates(variants, wanted.tune, wanted.sweeps, engine.pretrained.config)
    seeds = wanted.tune_seeds or (TUNE_SEED,)
    return Tuning(tuple(found), seeds, engine.config.epochs, wanted.tune_full)


def _trial_runs(
    engine: Engine, tuning: Tuning, wanted: Sequence[tuple[Candidates, Variant, int]]
) -> tuple[Run, ...]:
    """The runs of one round of trials."""
    return tuple(
        _run(engine, variant, seed, Part(epochs=epochs, test=False), each.variant.label)
        for each, variant, epochs in wanted
        for seed in tuning.seeds
    )


def _estimate(agenda: Agenda) -> Estimate:
    """What everything that is not finished will take; a second round is counted as if the first ones had won."""
    left = [run for run in (*agenda.trials, *agenda.to_run) if run.finished is None]
    if agenda.tuning:
        second = [
            (each, trial, agenda.tuning.epochs)
            for each in agenda.tuning.candidates
            if agenda.tuning.first(each) < agenda.tuning.epochs
            for trial in each.tried[: agenda.tuning.places(each) + 1]
        ]
        left += _trial_runs(agenda.engine, agenda.tuning, second)
    return estimate_runs(agenda.engine, left)


def _directory(experiment: Experiment, inputs: Inputs) -> Path:
    """The experiment's folder; a folder of another model or data set is never shared.

    Raises:
        InputError: the user named a folder that holds another model or data set.
    """
    output = experiment.output
    name = output.name or safe_name(f"{inputs.dataset.name}-{inputs.pretrained.name}")
    directory = output.results_dir / name
    other = _other_inputs(directory, inputs)
    if other is None:
        return directory
    if output.name is not None:
        raise InputError(f"--name {name}: that folder holds runs on {other}; choose another name")
    hashes = inputs.dataset.sha256[:4] + inputs.pretrained.sha256[:4]
    return output.results_dir / f"{name}-{hashes}"


def _other_inputs(directory: Path, inputs: Inputs) -> str | None:
    """What an existing experiment was run on, in words, where that is not ``inputs``; None where it may be shared."""
    if not (directory / EXPERIMENT_FILE).is_file():
        return None
    about = read_description(directory)
    for key, ours in (("dataset", inputs.dataset), ("model", inputs.pretrained)):
        if about[key]["sha256"] != ours.sha256:
            word = {"dataset": "other data", "model": "another model"}[key]
            return f"{word} ({about[key]['name']}, {about[key]['source'].rstrip('.')})"
    return None


def _without_finished(agenda: Agenda) -> Agenda:
    """The agenda with the records of what is finished, and the estimate of what is left."""
    if agenda.experiment.output.force:
        return agenda

    def looked_up(runs: Sequence[Run]) -> tuple[Run, ...]:
        folders = [run_directory(agenda.directory, run.run_id) for run in runs]
        return tuple(
            replace(run, finished=_finished_record(folder)) for run, folder in zip(runs, folders, strict=True)
        )

    agenda = replace(
        agenda, runs=looked_up(agenda.runs), aside=looked_up(agenda.aside), trials=looked_up(agenda.trials)
    )
    return replace(agenda, estimate=_estimate(agenda))


def _finished_record(directory: Path) -> RunRecord | None:
    """The record of a run that ended well; a failed one is run again."""
    if not (directory / RECORD_FILE).is_file():
        return None
    record = load_record(directory)
    return record if record.ok else None


@contextmanager
def _only_writer(directory: Path) -> Iterator[None]:
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
        yield
    finally:
        lock.release()


def _write_description(agenda: Agenda) -> None:
    """data/*.csv and experiment.json."""
    for name, content in agenda.inputs.dataset.csv.items():
        write_bytes_atomic(agenda.directory / "data" / f"{name}.csv", content)
    for split in agenda.experiment.data.splits:
        for name, content in agenda.engine.of(Part(split=split)).dataset.csv.items():
            write_bytes_atomic(agenda.directory / "data" / split / f"{name}.csv", content)
    write_text_atomic(agenda.directory / EXPERIMENT_FILE, to_json(_description(agenda)))


def _description(agenda: Agenda) -> dict[str, Any]:
    """The content of experiment.json: the latest command, and the model and the data of all runs here."""
    pretrained, dataset = agenda.inputs.pretrained, agenda.inputs.dataset
    variants = {each.variant.label: each.variant for each in agenda.runs}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": agenda.directory.name,
        "command": agenda.command,
        "only": agenda.experiment.output.only,
        "asked": agenda.experiment.report.given(),
        "created_at": now(),
        "strategies": [variant_facts(variant) for variant in variants.values()],
        "seeds": sorted({run.seed for run in agenda.runs}),
        "run_ids": [run.run_id for run in agenda.runs],
        "runs": {run.run_id: {"label": run.variant.label, "seed": run.seed} for run in agenda.runs},
        "tuning": agenda.tuning and agenda.tuning.facts([run.run_id for run in agenda.trials]),
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
            "rows": {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")},
            "max_length": dataset.max_length,
            "is_demo": dataset.is_demo,
            "test_texts_seen_in_train": dataset.test_texts_seen_in_train,
        },
        "train_config": agenda.engine.config.as_dict(),
        "max_length": dataset.max_length,
        "precision": agenda.engine.options.precision,
        "environment": agenda.environment,
    }


# --- the runs --------------------------------------------------------------------------------------------------


def _do_runs(agenda: Agenda, watch: Watcher) -> bool:
    """Do what is left to do; True if the user interrupted it."""
    scratch = agenda.directory / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # the lock says that nobody else writes here
    launcher = LocalLauncher(agenda.engine, scratch, _shared_facts(agenda))
    groups = launcher.groups(agenda.to_run)
    watch.launching(agenda, groups)
    try:
        for run, folder in launcher.launch(groups, watch):
            watch.finished(_publish(run_directory(agenda.directory, run.run_id), folder))
    except KeyboardInterrupt:
        return True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return False


def _tune(agenda: Agenda, watch: Watcher) -> tuple[Agenda, bool]:
    """Do the trials, round by round; the agenda then has the runs of what was chosen. True where interrupted."""
    tuning, done = agenda.tuning, list[RunRecord]()
    if tuning is None:
        return agenda, False
    engine, trials = agenda.engine, list[Run]()
    for choose in (lambda records: tuning.first_round(), tuning.second_round):
        runs = _trial_runs(engine, tuning, choose(done))
        stage = _without_finished(replace(agenda, runs=runs, aside=(), trials=()))
        if _do_runs(stage, watch):
            return agenda, True
        trials += runs
        done += [load_record(run_directory(agenda.directory, run.run_id)) for run in runs]
    seeds = list(dict.fromkeys(run.seed for run in agenda.runs))
    variants = tuning.chosen(done)
    runs = tuple(_run(engine, variant, seed) for variant in variants for seed in seeds)
    untuned = agenda.runs if agenda.experiment.tuning.untuned else ()
    aside = (*untuned, *_partial_runs(agenda.experiment, engine, variants, seeds))
    known = {run.run_id for run in runs}
    agenda = replace(
        agenda,
        runs=runs,
        aside=tuple(run for run in aside if run.run_id not in known),
        trials=tuple(trials),
    )
    agenda = _without_finished(agenda)
    _write_description(agenda)
    return agenda, False


def _publish(place: Path, folder: Path) -> RunRecord:
    """Give a finished run's folder its place, from which an older one of the same run is taken."""
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        shutil.rmtree(place)
    folder.rename(place)
    return load_record(place)


def _shared_facts(agenda: Agenda) -> dict[str, Any]:
    """What every record says of the experiment."""
    pretrained, dataset = agenda.inputs.pretrained, agenda.inputs.dataset
    return {
        "model": pretrained.name,
        "model_sha256": pretrained.sha256,
        "weights_source": pretrained.source,
        "dataset": dataset.name,
        "dataset_sha256": dataset.sha256,
        "train_config": agenda.engine.config.as_dict(),
        "max_length": dataset.max_length,
        "precision": agenda.engine.options.precision,
        "readout": agenda.engine.config.readout.name,
        "causal": agenda.engine.config.causal,
        "environment": agenda.environment,
        "launcher": "local",
        **git_state(),
    }


def _report(
    directory: Path, watch: Watcher, seconds: float | None, asked: ReportSettings | None = None
) -> Summary:
    from headtohead.experiments.report import write_report

    summary = summarise(load_experiment(directory, asked))
    if summary.experiment.records:
        watch.reported(summary, write_report(summary), seconds)
    return summary
