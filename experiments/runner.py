"""Runs an experiment: every strategy with every seed, finished runs kept, one failure stopping nothing else.

Each run is written whole or not at all, so an interruption or a crash loses at most the run in flight, and the
same command continues where it stopped.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import filelock

from headtohead.core.device import resolve_device
from headtohead.core.engine import ALL, REFERENCE, WHOLE, Engine, EngineOptions, Job, Part, groups
from headtohead.core.errors import InputError
from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import row_loaders
from headtohead.experiments.environment import describe_environment
from headtohead.experiments.estimate import Estimate, choose_seeds, estimate_runs
from headtohead.experiments.events import EventLog
from headtohead.experiments.folder import EXPERIMENT_FILE, load_experiment, read_description
from headtohead.experiments.identity import git_state, run_id
from headtohead.experiments.inputs import Inputs, find_inputs
from headtohead.experiments.launchers import Launcher, check_launcher, make_launcher
from headtohead.experiments.launchers.isolated import IsolatedLauncher
from headtohead.experiments.memory import check_model, memory_needed
from headtohead.experiments.merge import check_folders, merge_into
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
from headtohead.experiments.sequential import Sequential
from headtohead.experiments.spec import (
    FEW_SEEDS,
    PRESET_RATES,
    SUITES,
    TUNE_SEED,
    Experiment,
    check_name,
    safe_name,
)
from headtohead.experiments.statistics import Summary, evidence_of, summarise
from headtohead.experiments.trackers import check_trackers, trackers
from headtohead.experiments.tuning import Candidates, Tuning, candidates
from headtohead.experiments.watch import Everyone, Watcher
from headtohead.strategies import build_variants

LOCK_FILE = ".lock"
SCRATCH = ".scratch"  # below the experiment's folder; what a killed process left there goes with the next run


@dataclass(frozen=True)
class Agenda:
    """Everything that is known before the first run.

    Attributes:
        directory: the experiment's folder.
        engine: plans, and does the runs where they are done in this process.
        runs: in the order of the labels, then of the seeds; before the trials of a tuning, at the defaults.
        aside: more runs, for other parts of the report than the comparison.
        estimate: what the runs that are left will take, roughly, the trials included.
        tuning: what is tried first, where something is.
        trials: the runs of the tuning that are known so far.
        memory: what the run that needs most will take, in words.
        elsewhere: ids of the runs that other shards do.
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
    memory: str = ""
    elsewhere: frozenset[str] = frozenset()

    @property
    def options(self) -> EngineOptions:
        """With which the runs are computed, here or elsewhere."""
        return self.engine.options.stands_for or self.engine.options

    sequential: Sequential | None = None

    @property
    def to_run(self) -> list[Run]:
        return [each for each in (*self.runs, *self.aside) if self._is_ours(each)]

    def _is_ours(self, run: Run) -> bool:
        return run.finished is None and run.run_id not in self.elsewhere

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
    agenda = plan(experiment, watch)
    with _only_writer(agenda.directory, experiment.launch.shard):
        agenda = _without_finished(agenda)
        logs = [
            EventLog(agenda.directory, experiment.launch.shard),
            *trackers(experiment.output, agenda.directory),
        ]
        watch = Everyone([*logs, watch])
        watch.planned(agenda)
        _write_description(agenda)
        agenda, interrupted = _tune(agenda, watch)
        interrupted = interrupted or _do_runs(agenda, watch)
        if agenda.sequential is not None and not interrupted:
            agenda, interrupted = _until_settled(agenda, agenda.sequential, watch)
        summary = _report(agenda.directory, watch, time.perf_counter() - started)
    if interrupted:
        asked = {run.run_id for run in agenda.runs}
        kept = sum(path.name in asked for path in (agenda.directory / "runs").iterdir())
        watch.interrupted(kept, len(agenda.runs))
        raise KeyboardInterrupt
    return summary


def plan(experiment: Experiment, watch: Watcher | None = None) -> Agenda:
    """What an experiment would do; writes nothing.

    Raises:
        InputError: as :func:`compare`.
    """
    if experiment.preset in SUITES:
        raise InputError(
            f"preset {experiment.preset} is several experiments, not one; run them by `headtohead --preset "
            f"{experiment.preset}`"
        )
    asked = build_variants(experiment.strategies, experiment.settings, experiment.plugins)  # mistakes first
    check_trackers(experiment.output)
    check_launcher(experiment.launch)
    config = experiment.training.train_config()
    # Where settings are tried accuracies are compared, not times, so a small model's idle cores may be used.
    options = replace(engine_options(experiment), spread=experiment.tuning.any)
    if experiment.launch.launcher == "local":
        check_model(asked, experiment.model, options)
    inputs = find_inputs(experiment, (watch or Watcher()).tokenised)
    settings = (*preset_rates(experiment, inputs), *experiment.settings)
    variants = build_variants(experiment.strategies, settings, experiment.plugins)
    for variant in variants:
        if isinstance(variant.strategy, Strategy):
            variant.strategy.check(inputs.pretrained.config)
    row_loaders(inputs.dataset, config.batch_size)  # a batch that is too large fails here, not in every run
    here = experiment.launch.launcher == "local"
    memory = memory_needed(variants, inputs, config, options) if here else ""
    engine = Engine(inputs.pretrained, inputs.dataset, config, _planning_options(experiment, options))
    wanted = experiment.seeds or (FEW_SEEDS if experiment.sequential.until_settled else None)
    seeds = choose_seeds(engine, variants, wanted)
    tuning = _tuning(experiment, variants, engine)
    runs = tuple(_run(engine, variant, seed) for variant in variants for seed in seeds)
    trials = _trial_runs(engine, tuning, tuning.first_round()) if tuning else ()
    environment = describe_environment(engine.options.device)
    directory = _directory(experiment, inputs)
    aside = _partial_runs(experiment, engine, variants, seeds)
    agenda = Agenda(
        experiment,
        directory,
        inputs,
        engine,
        environment,
        runs,
        Estimate(0),
        aside,
        tuning,
        trials,
        memory=memory,
    )
    agenda = replace(agenda, elsewhere=_other_shards(agenda), sequential=_sequential(experiment, runs))
    return replace(agenda, estimate=_estimate(agenda))


def _sequential(experiment: Experiment, runs: Sequence[Run]) -> Sequential | None:
    """The looks that are planned, where seeds are added until pairs are settled; by default all of this command."""
    settings = experiment.sequential
    if not settings.until_settled:
        return None
    labels = dict.fromkeys(run.variant.label for run in runs)
    seeds = len({run.seed for run in runs})
    return Sequential.planned(seeds, settings.max_seeds, settings.pairs or list(combinations(labels, 2)))


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


def merge(
    sources: Sequence[Path], results_dir: Path, name: str | None, watch: Watcher | None = None
) -> Summary:
    """Make one experiment of the runs in several folders, and write its report.

    Args:
        sources: experiments' folders.
        name: of the experiment they become; None for that of the first.

    Raises:
        InputError: a folder holds no experiment, or one on another model or other data; nothing is written then.
    """
    first, *_ = check_folders(sources)
    name = first["name"] if name is None else name
    check_name(name)
    with _only_writer(results_dir / name, None):
        merge_into(results_dir / name, sources)
        return _report(results_dir / name, watch or Watcher(), None)


# --- before the first run --------------------------------------------------------------------------------------


def engine_options(experiment: Experiment) -> EngineOptions:
    """Where and how to compute, as the flags say."""
    settings, device = experiment.engine, _device(experiment)
    allowed = REFERENCE if settings.reference else ALL if settings.cache else replace(ALL, cut=0)
    return EngineOptions(
        device=device,
        precision=settings.precision,
        half_prefix=settings.half_prefix and device == "cpu",
        allowed=allowed,
        cache_dir=settings.cache_dir,
        cache_budget=settings.cache_budget,
        compile=settings.compile,
        together=settings.together,
        recompute=settings.recompute,
    )


def _device(experiment: Experiment) -> str:
    """The device of the runs; in a cluster it need not be here."""
    wanted, launch = experiment.engine.device, experiment.launch
    if launch.launcher == "local":
        return resolve_device(wanted)
    return "cuda" if wanted == "cuda" or (wanted == "auto" and launch.gpus_per_run) else "cpu"


def _planning_options(experiment: Experiment, options: EngineOptions) -> EngineOptions:
    """The options of this process's engine: it plans on the CPU what a cluster does on its own devices."""
    if experiment.launch.launcher == "local":
        return options
    precision = options.precision if options.device == "cpu" else "fp32"
    return replace(options, stands_for=options, device="cpu", precision=precision)


def _run(engine: Engine, variant: Variant, seed: int, part: Part = WHOLE, trial_of: str | None = None) -> Run:
    """A run with its identity."""
    config, options = engine.of(part).config, engine.options.stands_for or engine.options
    identity = run_id(variant, seed, config, engine.dataset, engine.pretrained, options, part)
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


def _other_shards(agenda: Agenda) -> frozenset[str]:
    """The runs that other shards do; groups are dealt out whole, whatever of them is finished already."""
    if agenda.experiment.launch.shard is None:
        return frozenset()
    part, parts = agenda.experiment.launch.shard
    runs = (*agenda.runs, *agenda.aside)
    jobs = {Job(run.variant, run.seed, Path(run.run_id), run.part): run.run_id for run in runs}
    ours = {jobs[job] for group in groups(agenda.engine, list(jobs))[part - 1 :: parts] for job in group}
    return frozenset(jobs.values()) - ours


def _finished_record(directory: Path) -> RunRecord | None:
    """The record of a run that ended well; a failed one is run again."""
    if not (directory / RECORD_FILE).is_file():
        return None
    record = load_record(directory)
    return record if record.ok else None


@contextmanager
def _only_writer(directory: Path, shard: tuple[int, int] | None) -> Iterator[None]:
    """Make the experiment's folder and hold its lock, which the system drops when the process ends in any way.

    Shards of one experiment may share the folder; each holds a lock of its own, and nobody else writes beside them.
    """
    locks: list[filelock.FileLock] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        whole = filelock.FileLock(directory / LOCK_FILE)
        whole.acquire(timeout=0)
        locks.append(whole)
        mine = [directory / _of_shard(LOCK_FILE, shard)] if shard else directory.glob(f"{LOCK_FILE}-*")
        for path in mine:
            locks.append(filelock.FileLock(path))
            locks[-1].acquire(timeout=0)
        if shard:
            whole.release()
    except filelock.Timeout:
        _release(locks)
        raise InputError(
            f"another process is running the experiment {directory}; wait for it to end, or choose another --name"
        ) from None
    except OSError as error:
        _release(locks)
        raise InputError(
            f"{directory} cannot be written ({error.strerror or error}); choose another --results-dir"
        ) from error
    try:
        yield
    finally:
        _release(locks)


def _release(locks: Sequence[filelock.FileLock]) -> None:
    for lock in locks:
        lock.release()


def _of_shard(name: str, shard: tuple[int, int] | None) -> str:
    """A file's name with the shard's own ending, where there is one."""
    return name if shard is None else f"{name}-{shard[0]}-of-{shard[1]}"


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
        "sequential": agenda.sequential and agenda.sequential.values(),
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
            "preparation": asdict(dataset.preparation) if dataset.preparation else None,
        },
        "train_config": agenda.engine.config.as_dict(),
        "max_length": dataset.max_length,
        "precision": agenda.options.precision,
        "environment": agenda.environment,
    }


# --- the runs --------------------------------------------------------------------------------------------------


def _do_runs(agenda: Agenda, watch: Watcher) -> bool:
    """Do what is left to do; True if the user interrupted it."""
    scratch = agenda.directory / _of_shard(SCRATCH, agenda.experiment.launch.shard)
    shutil.rmtree(scratch, ignore_errors=True)  # the lock says that nobody else writes here
    launcher = _launcher(agenda, scratch)
    to_do = launcher.groups(agenda.to_run)
    watch.launching(agenda, to_do)
    try:
        for run, folder in launcher.launch(to_do, watch):
            watch.finished(_publish(run_directory(agenda.directory, run.run_id), folder))
    except KeyboardInterrupt:
        return True
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return False


def _launcher(agenda: Agenda, scratch: Path) -> Launcher:
    """Where the runs are done."""
    if agenda.experiment.engine.isolate:
        facts = _shared_facts(agenda) | {"launcher": "isolated"}
        return IsolatedLauncher(agenda.experiment, list(agenda.inputs.replaced), scratch, facts)
    launch = agenda.experiment.launch
    return make_launcher(launch, agenda.engine, agenda.options, scratch, _shared_facts(agenda))


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


def _until_settled(agenda: Agenda, state: Sequential, watch: Watcher) -> tuple[Agenda, bool]:
    """Look, and add seeds until all pairs are settled or no look is left. True where interrupted."""
    while True:
        summary = summarise(load_experiment(agenda.directory))
        found = evidence_of(summary)
        if found is None:
            return agenda, False  # without predictions of two strategies there is nothing to look at
        state = state.looked(*found)
        agenda = replace(agenda, sequential=state)
        _write_description(agenda)
        if state.over or all(state.is_settled(*pair) for pair in state.wanted(found[1])):
            return agenda, False
        agenda = _without_finished(replace(agenda, runs=_with_more_seeds(agenda, state.looks[state.done])))
        _write_description(agenda)
        if _do_runs(agenda, watch):
            return agenda, True


def _with_more_seeds(agenda: Agenda, wanted: int) -> tuple[Run, ...]:
    """The agenda's runs and those with the seeds that come next, until each variant has ``wanted``."""
    seeds = list(dict.fromkeys(run.seed for run in agenda.runs))
    seeds += range(max(seeds) + 1, max(seeds) + 1 + wanted - len(seeds))
    variants = {run.variant.label: run.variant for run in agenda.runs}
    return tuple(_run(agenda.engine, variant, seed) for variant in variants.values() for seed in seeds)


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
        "preparation": asdict(dataset.preparation) if dataset.preparation else None,
        "train_config": agenda.engine.config.as_dict(),
        "max_length": dataset.max_length,
        "precision": agenda.options.precision,
        "readout": agenda.engine.config.readout.name,
        "causal": agenda.engine.config.causal,
        "environment": agenda.environment,
        "launcher": agenda.experiment.launch.launcher,
        **git_state(),
    }


def _report(
    directory: Path, watch: Watcher, seconds: float | None, asked: ReportSettings | None = None
) -> Summary:
    from headtohead.experiments.index import write_index
    from headtohead.experiments.report import write_report

    summary = summarise(load_experiment(directory, asked))
    if summary.experiment.records:
        paths = write_report(summary)
        write_index(directory.parent)
        watch.reported(summary, paths, seconds)
    return summary
