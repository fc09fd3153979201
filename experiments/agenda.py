"""What an experiment will do, before it does anything: the runs, where they are kept, and what they will take."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from headtohead.core.engine import WHOLE, Engine, EngineOptions, Job, Part, groups
from headtohead.core.errors import InputError
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import row_loaders
from headtohead.experiments.environment import describe_environment
from headtohead.experiments.estimate import Estimate, choose_seeds, estimate_runs
from headtohead.experiments.folder import EXPERIMENT_FILE, read_description
from headtohead.experiments.identity import run_id
from headtohead.experiments.inputs import Inputs, find_inputs
from headtohead.experiments.launchers import check_launcher
from headtohead.experiments.memory import check_model, memory_needed
from headtohead.experiments.options import engine_options, planning_options
from headtohead.experiments.runs import Run
from headtohead.experiments.sequential import Sequential
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.output import safe_name
from headtohead.experiments.spec.presets import PRESET_RATES, SUITES
from headtohead.experiments.spec.seeds import FEW_SEEDS, TUNE_SEED
from headtohead.experiments.trackers import check_trackers
from headtohead.experiments.tuning import Candidates, Tuning, candidates
from headtohead.experiments.watch import Watcher
from headtohead.strategies import build_variants


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
        sequential: the looks that are planned, where seeds are added until pairs are settled.
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
    sequential: Sequential | None = None

    @property
    def options(self) -> EngineOptions:
        """With which the runs are computed, here or elsewhere."""
        return self.engine.options.stands_for or self.engine.options

    @property
    def to_run(self) -> list[Run]:
        """What is neither finished nor another shard's."""
        runs = (*self.runs, *self.aside)
        return [run for run in runs if run.finished is None and run.run_id not in self.elsewhere]

    @property
    def command(self) -> str:
        """The command that does the same again: what fell back to the demo is named in it."""
        stand_ins = "".join(f" --{part} demo" for part in self.inputs.replaced)
        return self.experiment.command + stand_ins


def plan(experiment: Experiment, watch: Watcher | None = None) -> Agenda:
    """What an experiment would do; writes nothing.

    Raises:
        InputError: something that makes the whole experiment impossible.
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
    here = experiment.launch.launcher == "local"
    if here:
        check_model(asked, experiment.model, options)
    inputs = find_inputs(experiment, (watch or Watcher()).tokenised)
    settings = (*preset_rates(experiment, inputs), *experiment.settings)
    variants = build_variants(experiment.strategies, settings, experiment.plugins)
    for variant in variants:
        if isinstance(variant.strategy, Strategy):
            variant.strategy.check(inputs.pretrained.config)
    row_loaders(inputs.dataset, config.batch_size)  # a batch that is too large fails here, not in every run
    memory = memory_needed(variants, inputs, config, options) if here else ""
    engine = Engine(inputs.pretrained, inputs.dataset, config, planning_options(experiment, options))
    wanted = experiment.seeds or (FEW_SEEDS if experiment.sequential.until_settled else None)
    seeds = choose_seeds(engine, variants, wanted)
    tuning = _tuning(experiment, variants, engine)
    runs = tuple(new_run(engine, variant, seed) for variant in variants for seed in seeds)
    trials = trial_runs(engine, tuning, tuning.first_round()) if tuning else ()
    agenda = Agenda(
        experiment,
        _directory(experiment, inputs),
        inputs,
        engine,
        describe_environment(engine.options.device),
        runs,
        Estimate(0),
        partial_runs(experiment, engine, variants, seeds),
        tuning,
        trials,
        memory,
        sequential=_sequential(experiment, runs),
    )
    agenda = replace(agenda, elsewhere=_other_shards(agenda))
    return replace(agenda, estimate=estimate_of(agenda))


def preset_rates(experiment: Experiment, inputs: Inputs) -> list[str]:
    """The learning rates of the preset as settings of the strategies that are compared; a user's own replace them."""
    preset = experiment.preset or ("demo" if inputs.pretrained.is_demo else "book")
    names = {label.partition("@")[0] for label in experiment.strategies}
    own = {setting.partition("=")[0].strip() for setting in experiment.settings}
    rates = {f"{name}.learning_rate": rate for name, rate in PRESET_RATES[preset].items() if name in names}
    return [f"{place}={rate}" for place, rate in rates.items() if place not in own]


def _sequential(experiment: Experiment, runs: Sequence[Run]) -> Sequential | None:
    """The looks that are planned, where seeds are added until pairs are settled; by default all of this command."""
    settings = experiment.sequential
    if not settings.until_settled:
        return None
    labels = dict.fromkeys(run.variant.label for run in runs)
    seeds = len({run.seed for run in runs})
    return Sequential.planned(seeds, settings.max_seeds, settings.pairs or list(combinations(labels, 2)))


def new_run(
    engine: Engine, variant: Variant, seed: int, part: Part = WHOLE, trial_of: str | None = None
) -> Run:
    """A run with its identity."""
    config, options = engine.of(part).config, engine.options.stands_for or engine.options
    identity = run_id(variant, seed, config, engine.dataset, engine.pretrained, options, part)
    return Run(variant, seed, identity, None, part, trial_of)


def partial_runs(
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
        new_run(engine, variant, seed, part) for part in parts for variant in variants for seed in seeds
    )


def _tuning(experiment: Experiment, variants: Sequence[Variant], engine: Engine) -> Tuning | None:
    """What is to be tried; None where nothing is."""
    wanted = experiment.tuning
    if not wanted.any:
        return None
    found = candidates(variants, wanted.tune, wanted.sweeps, engine.pretrained.config)
    seeds = wanted.tune_seeds or (TUNE_SEED,)
    return Tuning(tuple(found), seeds, engine.config.epochs, wanted.tune_full)


def trial_runs(
    engine: Engine, tuning: Tuning, wanted: Sequence[tuple[Candidates, Variant, int]]
) -> tuple[Run, ...]:
    """The runs of one round of trials."""
    return tuple(
        new_run(engine, variant, seed, Part(epochs=epochs, test=False), each.variant.label)
        for each, variant, epochs in wanted
        for seed in tuning.seeds
    )


def estimate_of(agenda: Agenda) -> Estimate:
    """What everything that is not finished will take; a second round is counted as if the first ones had won."""
    left = [run for run in (*agenda.trials, *agenda.to_run) if run.finished is None]
    if agenda.tuning:
        second = [
            (each, trial, agenda.tuning.epochs)
            for each in agenda.tuning.candidates
            if agenda.tuning.first(each) < agenda.tuning.epochs
            for trial in each.tried[: agenda.tuning.places(each) + 1]
        ]
        left += trial_runs(agenda.engine, agenda.tuning, second)
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


def _other_shards(agenda: Agenda) -> frozenset[str]:
    """The runs that other shards do; groups are dealt out whole, whatever of them is finished already."""
    if agenda.experiment.launch.shard is None:
        return frozenset()
    part, parts = agenda.experiment.launch.shard
    runs = (*agenda.runs, *agenda.aside)
    jobs = {Job(run.variant, run.seed, Path(run.run_id), run.part): run.run_id for run in runs}
    ours = {jobs[job] for group in groups(agenda.engine, list(jobs))[part - 1 :: parts] for job in group}
    return frozenset(jobs.values()) - ours
