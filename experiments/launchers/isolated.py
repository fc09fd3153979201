"""Each run in a process of its own, one after another: no run's memory or time depends on what ran before it.

    python -m headtohead.experiments.launchers.isolated    # a run as JSON on its standard input

What a run needs travels as plain values: the experiment's flags, and the strategy's name and fields.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from headtohead.core.engine import Engine, Part
from headtohead.core.errors import TrainingError, printable
from headtohead.experiments.flags import given_in
from headtohead.experiments.inputs import find_inputs
from headtohead.experiments.launchers.local import LocalLauncher
from headtohead.experiments.options import engine_options
from headtohead.experiments.record import RECORD_FILE, to_json
from headtohead.experiments.runs import Run, write_folder
from headtohead.experiments.spec import Experiment
from headtohead.experiments.watch import Watcher
from headtohead.strategies import build_variants


@dataclass
class IsolatedLauncher:
    """A process for every run.

    Attributes:
        experiment: what the processes find their model and data by.
        replaced: the parts of it, "model" and "data", for which the demo stands in.
        scratch: where run folders are made before they have their place.
        facts: what every record says of the experiment.
    """

    experiment: Experiment
    replaced: Sequence[str]
    scratch: Path
    facts: dict[str, Any]

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Each run alone."""
        return [[run] for run in runs]

    def launch(self, groups: Sequence[Sequence[Run]], watch: Watcher) -> Iterator[tuple[Run, Path]]:
        """As :class:`headtohead.experiments.launchers.Launcher`."""
        for group in groups:
            for run in group:
                watch.began([run.title])
                yield run, self._do(run)

    def _do(self, run: Run) -> Path:
        """The run's folder; a process that ends without one leaves a failed record with its last words."""
        folder = self.scratch / run.run_id
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=to_json(self._parcel(run)),
            text=True,
            encoding="utf-8",
            errors="replace",
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        if done.returncode or not (folder / RECORD_FILE).is_file():
            words = printable((done.stderr.strip().splitlines() or ["it said nothing"])[-1])
            error = TrainingError(f"the run's process ended with code {done.returncode}: {words}")
            write_folder(folder, run, error, folder, self.facts)
        return folder

    def _parcel(self, run: Run) -> dict[str, Any]:
        variant = run.variant
        experiment = self.experiment
        sections = (experiment.model, experiment.data, experiment.training, experiment.engine)
        given = {key: value for each in sections for key, value in given_in(each).items()}
        given |= dict.fromkeys(self.replaced, "demo")
        return {
            "given": given | {"strategies": [variant.name], "set": [], "plugin": _paths(variant.plugin)},
            "run": {"label": variant.label, "seed": run.seed, "run_id": run.run_id},
            "part": asdict(run.part),
            "trial_of": run.trial_of,
            "name": variant.name,
            "values": asdict(variant.strategy),
            "scratch": str(self.scratch.resolve()),
            "facts": self.facts | {"isolated": True},
        }


def _paths(plugin: Path | None) -> list[str]:
    return [str(plugin.resolve())] if plugin else []


def work(parcel: Mapping[str, Any]) -> None:
    """Do the run of a parcel and leave its folder in the scratch folder."""
    experiment = Experiment.of(parcel["given"])
    inputs = find_inputs(experiment)
    config = experiment.training.train_config()
    engine = Engine(inputs.pretrained, inputs.dataset, config, engine_options(experiment))
    run = rebuild_run(parcel, experiment.plugins)
    launcher = LocalLauncher(engine, Path(parcel["scratch"]), dict(parcel["facts"]))
    for _ in launcher.launch([[run]], Watcher()):
        pass


def rebuild_run(parcel: Mapping[str, Any], plugins: Sequence[Path]) -> Run:
    """The run that a parcel describes, its strategy with exactly the fields that it had."""
    (variant,) = build_variants([parcel["name"]], [], plugins)
    values = {
        each.name: _as_before(parcel["values"][each.name], getattr(variant.strategy, each.name))
        for each in fields(variant.strategy)
    }
    variant = replace(variant, label=parcel["run"]["label"], strategy=replace(variant.strategy, **values))
    about = parcel["run"]
    return Run(variant, about["seed"], about["run_id"], None, Part(**parcel["part"]), parcel["trial_of"])


def _as_before(value: Any, default: Any) -> Any:
    """A field's value as it was before JSON, which knows no tuples."""
    return tuple(value) if isinstance(value, list) and not isinstance(default, list) else value


if __name__ == "__main__":
    work(json.load(sys.stdin))
