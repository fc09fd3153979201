"""Runs in this process, one group after another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headtohead.core.engine import CostMeter, Engine, Job, fit_group, groups
from headtohead.experiments.runs import Run, write_folder
from headtohead.experiments.watch import Watcher


@dataclass
class LocalLauncher:
    """One engine for all runs, which share what it computed once.

    Attributes:
        scratch: where run folders are made before they have their place.
        facts: what every record says of the experiment.
    """

    engine: Engine
    scratch: Path
    facts: dict[str, Any]
    costs: CostMeter = field(init=False)

    def __post_init__(self) -> None:
        self.costs = CostMeter(self.engine)

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The engine's groups: heads together, seeds that share a prefix together."""
        jobs = {self._job(run): run for run in runs}
        return [[jobs[job] for job in group] for group in groups(self.engine, list(jobs))]

    def launch(self, groups: Sequence[Sequence[Run]], watch: Watcher) -> Iterator[tuple[Run, Path]]:
        """As :class:`headtohead.experiments.launchers.Launcher`."""
        for group in groups:
            watch.began([run.title for run in group])
            jobs = {self._job(run): run for run in group}
            # A trial is no row of the comparison, and what it costs is no part of any choice.
            costs = {run.run_id: self.costs.of(run.variant) for run in group if run.trial_of is None}
            for job, outcome in fit_group(self.engine, list(jobs), watch.step):
                run = jobs[job]
                folder = self.scratch / run.run_id
                write_folder(folder, run, outcome, job.directory, self.facts, costs.get(run.run_id))
                yield run, folder

    def _job(self, run: Run) -> Job:
        return Job(run.variant, run.seed, self.scratch / f"{run.run_id}.classifier", run.part)
