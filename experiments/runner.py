"""Runs an experiment: every strategy with every seed, finished runs kept, one failure stopping nothing else.

Each run is written whole or not at all, so an interruption or a crash loses at most the run in flight, and the
same command continues where it stopped. What is done is planned in :mod:`.agenda`.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from headtohead.core.errors import InputError
from headtohead.experiments.agenda import Agenda, estimate_of, new_run, partial_runs, plan, trial_runs
from headtohead.experiments.description import shared_facts, write_description
from headtohead.experiments.events import EventLog
from headtohead.experiments.folder import EXPERIMENT_FILE, load_experiment
from headtohead.experiments.launchers import Launcher, make_launcher
from headtohead.experiments.launchers.isolated import IsolatedLauncher
from headtohead.experiments.lock import of_shard, only_writer
from headtohead.experiments.merge import check_folders, merge_into
from headtohead.experiments.record import RECORD_FILE, RunRecord, load_record, run_directory
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.runs import Run
from headtohead.experiments.sequential import Sequential
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.output import check_name
from headtohead.experiments.statistics import Summary, evidence_of, summarise
from headtohead.experiments.trackers import trackers
from headtohead.experiments.watch import Everyone, Watcher

SCRATCH = ".scratch"  # below the experiment's folder; what a killed process left there goes with the next run


def compare(experiment: Experiment, watch: Watcher | None = None) -> Summary:
    """Do the experiment's unfinished runs, write its report, and return what it says.

    A run that fails is a row of the summary; KeyboardInterrupt is raised again after the report of what is finished.

    Raises:
        InputError: something that makes the whole experiment impossible; nothing is written then.
    """
    watch = watch or Watcher()
    started = time.perf_counter()
    agenda = plan(experiment, watch)
    with only_writer(agenda.directory, experiment.launch.shard):
        agenda = _without_finished(agenda)
        logs = [
            EventLog(agenda.directory, experiment.launch.shard),
            *trackers(experiment.output, agenda.directory),
        ]
        watch = Everyone([*logs, watch])
        watch.planned(agenda)
        write_description(agenda)
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


def _without_finished(agenda: Agenda) -> Agenda:
    """The agenda with the records of what is finished, and the estimate of what is left."""
    if agenda.experiment.output.force:
        return agenda

    def looked_up(runs: Sequence[Run]) -> tuple[Run, ...]:
        return tuple(
            replace(run, finished=_finished(run_directory(agenda.directory, run.run_id))) for run in runs
        )

    agenda = replace(
        agenda, runs=looked_up(agenda.runs), aside=looked_up(agenda.aside), trials=looked_up(agenda.trials)
    )
    return replace(agenda, estimate=estimate_of(agenda))


def _finished(directory: Path) -> RunRecord | None:
    """The record of a run that ended well; a failed one is run again."""
    if not (directory / RECORD_FILE).is_file():
        return None
    record = load_record(directory)
    return record if record.ok else None


def _do_runs(agenda: Agenda, watch: Watcher) -> bool:
    """Do what is left to do; True if the user interrupted it."""
    scratch = agenda.directory / of_shard(SCRATCH, agenda.experiment.launch.shard)
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
        facts = shared_facts(agenda) | {"launcher": "isolated"}
        return IsolatedLauncher(agenda.experiment, list(agenda.inputs.replaced), scratch, facts)
    launch = agenda.experiment.launch
    return make_launcher(launch, agenda.engine, agenda.options, scratch, shared_facts(agenda))


def _publish(place: Path, folder: Path) -> RunRecord:
    """Give a finished run's folder its place, from which an older one of the same run is taken."""
    place.parent.mkdir(exist_ok=True)
    if place.exists():
        shutil.rmtree(place)
    folder.rename(place)
    return load_record(place)


def _tune(agenda: Agenda, watch: Watcher) -> tuple[Agenda, bool]:
    """Do the trials, round by round; the agenda then has the runs of what was chosen. True where interrupted."""
    tuning, done = agenda.tuning, list[RunRecord]()
    if tuning is None:
        return agenda, False
    engine, trials = agenda.engine, list[Run]()
    for choose in (lambda records: tuning.first_round(), tuning.second_round):
        runs = trial_runs(engine, tuning, choose(done))
        stage = _without_finished(replace(agenda, runs=runs, aside=(), trials=()))
        if _do_runs(stage, watch):
            return agenda, True
        trials += runs
        done += [load_record(run_directory(agenda.directory, run.run_id)) for run in runs]
    seeds = list(dict.fromkeys(run.seed for run in agenda.runs))
    variants = tuning.chosen(done)
    runs = tuple(new_run(engine, variant, seed) for variant in variants for seed in seeds)
    untuned = agenda.runs if agenda.experiment.tuning.untuned else ()
    aside = (*untuned, *partial_runs(agenda.experiment, engine, variants, seeds))
    known = {run.run_id for run in runs}
    agenda = replace(
        agenda,
        runs=runs,
        aside=tuple(run for run in aside if run.run_id not in known),
        trials=tuple(trials),
    )
    agenda = _without_finished(agenda)
    write_description(agenda)
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
        write_description(agenda)
        if state.over or all(state.is_settled(*pair) for pair in state.wanted(found[1])):
            return agenda, False
        agenda = _without_finished(replace(agenda, runs=_with_more_seeds(agenda, state.looks[state.done])))
        write_description(agenda)
        if _do_runs(agenda, watch):
            return agenda, True


def _with_more_seeds(agenda: Agenda, wanted: int) -> tuple[Run, ...]:
    """The agenda's runs and those with the seeds that come next, until each variant has ``wanted``."""
    seeds = list(dict.fromkeys(run.seed for run in agenda.runs))
    seeds += range(max(seeds) + 1, max(seeds) + 1 + wanted - len(seeds))
    variants = {run.variant.label: run.variant for run in agenda.runs}
    return tuple(new_run(agenda.engine, variant, seed) for variant in variants.values() for seed in seeds)


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
    with only_writer(results_dir / name, None):
        merge_into(results_dir / name, sources)
        return _report(results_dir / name, watch or Watcher(), None)


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
