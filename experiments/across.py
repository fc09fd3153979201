"""Several experiments in one report: ``python run_all.py --compare results/a results/b shared.zip``.

Experiments that were tested on the same messages are compared row by row, each row under its experiment's name where
anything else differs; those tested on other messages get a table of their own, and nothing is tested across.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from headtohead.core.errors import InputError
from headtohead.core.files import atomic_directory, file_errors, sha256_of, write_text_atomic
from headtohead.experiments import archive
from headtohead.experiments.folder import LoadedExperiment, comparison_of, load_experiment
from headtohead.experiments.record import RunRecord, run_directory, to_json
from headtohead.experiments.runs import now
from headtohead.experiments.spec.output import check_name, safe_name
from headtohead.experiments.statistics import Summary, summarise
from headtohead.experiments.watch import Watcher
from headtohead.experiments.wording import listed

COMPARISON_FILE = "comparison.json"  # says that a folder was made here and may be made anew
MACHINE = "environment."


@dataclass(frozen=True)
class Source:
    """One of the experiments: its name here, and the messages that it was tested on, by their hash."""

    name: str
    experiment: LoadedExperiment
    test_sha256: str

    @cached_property
    def facts(self) -> dict[str, str]:
        """Everything that may differ, by a name that can be read; the machine's begin with MACHINE."""
        about = self.experiment.description
        facts = {
            f"{part} {key}": about[part].get(key)
            for part in ("model", "dataset")
            for key in ("name", "sha256")
        }
        facts["messages tested on (sha256)"] = self.test_sha256
        facts["tokens of a message"] = about["dataset"].get("max_length")
        facts["precision"] = about.get("precision") or "fp32"
        facts |= {f"training: {key}": value for key, value in about["train_config"].items()}
        known = [record for record in self.experiment.records if record.code_hash]
        facts |= {f"code of {record.label}": record.code_hash for record in known}
        facts |= {f"{MACHINE}{key}": value for key, value in about["environment"].items()}
        return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}


def compare_folders(
    paths: Sequence[Path], results_dir: Path, name: str | None = None, watch: Watcher | None = None
) -> Summary:
    """Write one report over the experiments in ``paths``, folders or shared zip files, to ``results_dir/name``.

    Raises:
        InputError: fewer than two, no experiment in one of them, or a folder of that name that is none of ours.
    """
    if len(paths) < 2:
        raise InputError(f"--compare {paths[0] if paths else ''}: give two or more experiments to compare")
    if name is not None:
        check_name(name)
    with tempfile.TemporaryDirectory() as scratch:
        sources = _open(paths, Path(scratch))
        target = results_dir / (name or safe_name("compare-" + "-".join(source.name for source in sources)))
        _check_target(target)
        groups = _groups(sources)
        places = [target, *(target / "others" / str(number) for number in range(1, len(groups)))]
        with (
            file_errors(f"writing {target}", "choose another --results-dir"),
            atomic_directory(target) as folder,
        ):
            for group, place in zip(groups, places, strict=True):
                _copy(group, folder / place.relative_to(target))
            write_text_atomic(
                folder / COMPARISON_FILE, to_json({"experiments": [str(path) for path in paths]})
            )
        merged = [_merged(group, sources, place) for group, place in zip(groups, places, strict=True)]
    return _write(replace(merged[0], others=tuple(merged[1:])), watch or Watcher())


def _write(experiment: LoadedExperiment, watch: Watcher) -> Summary:
    from headtohead.experiments.index import write_index
    from headtohead.experiments.report import write_report

    summary = summarise(experiment)
    paths = write_report(summary)
    write_index(experiment.directory.parent)
    watch.reported(summary, paths, None)
    return summary


# --- what is compared -------------------------------------------------------------------------------------------


def _open(paths: Sequence[Path], scratch: Path) -> list[Source]:
    """The experiments, under names that differ."""
    sources: list[Source] = []
    for number, path in enumerate(paths):
        folder = archive.unpack(path, scratch / str(number)) if path.is_file() else path
        experiment = load_experiment(folder)
        if not experiment.records:
            raise InputError(f"--compare {path}: no run of that experiment is finished; run it first")
        test = folder / "data" / "test.csv"
        if not test.is_file():
            raise InputError(
                f"--compare {path}: data/test.csv is missing, so nobody knows what it was tested on"
            )
        name = folder.resolve().name
        if name in {source.name for source in sources}:
            name = f"{name} {number + 1}"
        labels = json.dumps(experiment.description["dataset"]["label_names"])
        sha256 = hashlib.sha256(f"{sha256_of(test)} {labels}".encode()).hexdigest()
        sources.append(Source(name, experiment, sha256))
    return sources


def _check_target(target: Path) -> None:
    if target.exists() and not (target / COMPARISON_FILE).is_file():
        raise InputError(
            f"--name {target.name}: {target} is there already and no comparison; choose another name"
        )


def _groups(sources: Sequence[Source]) -> list[list[Source]]:
    """The experiments by the messages that they were tested on, the first one's group first."""
    groups: dict[str, list[Source]] = {}
    for source in sources:
        groups.setdefault(source.test_sha256, []).append(source)
    return list(groups.values())


def differing(sources: Sequence[Source], machine: bool = False) -> list[str]:
    """The facts in which ``sources`` differ: those of the machine, or all others."""
    keys = dict.fromkeys(key for source in sources for key in source.facts)
    known = {key: [source.facts[key] for source in sources if key in source.facts] for key in keys}
    return [
        key for key, values in known.items() if key.startswith(MACHINE) == machine and len(set(values)) > 1
    ]


# --- putting them together --------------------------------------------------------------------------------------


def _id(source: Source, record: RunRecord) -> str:
    """A run's folder in the comparison: two experiments may hold the same run."""
    return safe_name(source.name)[:40] + "--" + record.run_id


def _copy(group: Sequence[Source], folder: Path) -> None:
    """What the report reads besides the records: the messages and the histories."""
    (folder / "data").mkdir(parents=True)
    for split in ("test", "train"):
        files = [source.experiment.directory / "data" / f"{split}.csv" for source in group]
        same = all(file.is_file() for file in files) and len({sha256_of(file) for file in files}) == 1
        if same:
            shutil.copyfile(files[0], folder / "data" / f"{split}.csv")
    for source in group:
        for record in source.experiment.records:
            run = run_directory(source.experiment.directory, record.run_id)
            place = run_directory(folder, _id(source, record))
            place.mkdir(parents=True)
            for file in (path for path in run.iterdir() if path.is_file()):
                shutil.copyfile(file, place / file.name)


def _merged(group: Sequence[Source], every: Sequence[Source], place: Path) -> LoadedExperiment:
    """The group's runs as one experiment; rows of the same name stand apart where anything but the machine differs."""
    differ = differing(group)
    records = [
        replace(
            record,
            run_id=_id(source, record),
            label=f"{record.label} [{source.name}]" if differ else record.label,
        )
        for source in group
        for record in source.experiment.records
    ]
    first = group[0].experiment.description
    names = [source.name for source in group]
    about = {
        **first,
        "name": place.name if place.parent.name != "others" else f"other messages: {', '.join(names)}",
        "command": "python run_all.py --compare " + " ".join(source.name for source in every),
        "created_at": now(),
        "compared": {"names": names, "differ": differ, "table": _table(every), "groups": _said(every)},
    }
    return comparison_of(place, about, records)


def _table(sources: Sequence[Source]) -> list[list[str]]:
    """A line for each fact that differs: its name, and what it is in each experiment."""
    keys = [*differing(sources), *differing(sources, machine=True)]
    return [["experiment", *(source.name for source in sources)]] + [
        [key, *(_brief(key, source.facts.get(key, "–")) for source in sources)] for key in keys
    ]


def _brief(key: str, value: str) -> str:
    return value[:12] if "sha256" in key or key.startswith("code of") else value


def _said(sources: Sequence[Source]) -> list[str]:
    """Which experiments were tested on the same messages, in words."""
    groups = _groups(sources)
    sentences = [_group_said(group) for group in groups]
    if len(groups) > 1:
        sentences.append(
            "Nothing is tested across different test messages: accuracies on them say nothing of each other."
        )
    return sentences


def _group_said(group: Sequence[Source]) -> str:
    names = [source.name for source in group]
    size = f"{group[0].experiment.description['dataset']['rows']['test']:,}"
    if len(group) == 1:
        return f"{names[0]} was tested on {size} messages of its own: it stands in a table of its own."
    differ = differing(group)
    same = f"{listed(names)} were tested on the same {size} messages."
    if not differ:
        return f"{same} Nothing else differs but the machine at most: runs of a strategy count as seeds of one row."
    return (
        f"{same} They differ in {listed(differ)}: each row names its experiment, and a difference between rows of two "
        "experiments may come from that."
    )
