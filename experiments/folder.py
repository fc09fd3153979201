"""An experiment's folder: what it holds, which of it belongs together, and what may be added to it.

A folder is of one model and one data set, and it accumulates: every command adds runs, none takes any away. Runs of
the same protocol are compared; where there are several protocols, each has a comparison of its own.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from headtohead.core.errors import InputError
from headtohead.core.json_files import build, checked
from headtohead.experiments.record import (
    READABLE,
    RECORD_FILE,
    SCHEMA_VERSION,
    RunRecord,
    load_record,
    read_json,
)
from headtohead.experiments.report_settings import ReportSettings

EXPERIMENT_FILE = "experiment.json"


class ModelFacts(TypedDict):
    name: str
    source: str
    sha256: str
    config: dict[str, Any]
    is_demo: bool


class SplitRows(TypedDict):
    train: int
    validation: int
    test: int


class DatasetFacts(TypedDict):
    name: str
    source: str
    sha256: str
    label_names: list[str]
    rows: SplitRows
    max_length: int
    is_demo: bool


class VariantFacts(TypedDict):
    strategy: str
    label: str
    description: str
    family: str
    learning_rate: float | None
    hyperparameters: dict[str, Any]


class AskedRun(TypedDict):
    label: str
    seed: int


class TunedVariant(TypedDict):
    """What was tried for one variant, as :meth:`headtohead.experiments.tuning.Tuning.facts` says it."""

    label: str
    strategy: str
    tried: int
    first_epochs: int
    fields: list[str]
    default: str | None
    hyperparameters: dict[str, Any]


class TuningFacts(TypedDict):
    seeds: list[int]
    epochs: int
    full: bool
    trials: list[str]
    variants: list[TunedVariant]


class SequentialFacts(TypedDict):
    looks: list[int]
    levels: list[float]
    pairs: list[list[str]]
    done: int
    settled: list[list[str]]


class Description(TypedDict):
    """What experiment.json must hold to be believed; it may hold more."""

    name: str
    command: str
    strategies: list[VariantFacts]
    seeds: list[int]
    run_ids: list[str]
    runs: NotRequired[dict[str, AskedRun]]
    tuning: NotRequired[TuningFacts | None]
    model: ModelFacts
    dataset: DatasetFacts
    train_config: dict[str, Any]
    environment: dict[str, Any]
    asked: NotRequired[dict[str, Any]]
    sequential: NotRequired[SequentialFacts | None]


@dataclass(frozen=True)
class LoadedExperiment:
    """The runs of one protocol in an experiment's folder.

    Attributes:
        description: experiment.json; ``strategies`` and ``seeds`` are those of ``records`` and of what is missing.
        records: one for each variant and seed, those of the latest command first.
        missing: label -> seeds that the latest command asked for and that have no record.
        others: the runs of the folder's other protocols, each a comparison of its own.
        aside: records that belong to this experiment and not to its comparison: trials, strategies at the defaults
            from which they were tuned, subsets of the training messages.
    """

    directory: Path
    description: dict[str, Any]
    records: tuple[RunRecord, ...]
    missing: dict[str, tuple[int, ...]]
    others: "tuple[LoadedExperiment, ...]" = ()
    aside: tuple[RunRecord, ...] = ()

    @property
    def asked(self) -> ReportSettings:
        """What the report was asked."""
        place = f"{self.directory / EXPERIMENT_FILE}, asked"
        return build(ReportSettings, self.description.get("asked", {}), place, "run the experiment again.")

    @property
    def demo_parts(self) -> list[str]:
        """Which of ``model`` and ``dataset`` are the embedded demo."""
        return [part for part in ("model", "dataset") if self.description.get(part, {}).get("is_demo")]


def read_description(directory: Path) -> dict[str, Any]:
    """experiment.json; InputError where it is absent, no :class:`Description`, or of another version."""
    description = read_json(directory / EXPERIMENT_FILE)
    if description.get("schema_version") not in READABLE:
        raise InputError(
            f"{directory / EXPERIMENT_FILE} has schema version {description.get('schema_version')}; this headtohead "
            f"reads version {SCHEMA_VERSION}: use the headtohead that wrote it, or run the experiment again."
        )
    checked(description, Description, str(directory / EXPERIMENT_FILE), "run the experiment again.")
    return description


def load_experiment(directory: Path, asked: ReportSettings | None = None) -> LoadedExperiment:
    """Everything that a report needs of an experiment's folder; what is ``asked`` comes before what the folder says.

    A run that was done again under the same settings replaces the older one; two settings that share a label are
    told apart by the fields in which they differ.
    """
    description = read_description(directory)
    description["asked"] = description.get("asked", {}) | (asked.given() if asked else {})
    wanted = description["run_ids"]
    found = [load_record(path.parent) for path in sorted(directory.glob(f"runs/*/{RECORD_FILE}"))]
    found = [record for record in found if _same_inputs(record, description)]
    aside = [record for record in found if _is_aside(record, description)]
    whole = [record for record in found if record.role == "run" and not record.is_partial]
    found = [record for record in whole if record not in aside]
    if description.get("only"):
        found = [record for record in found if record.run_id in set(wanted)]
    found.sort(key=lambda record: _order(record, wanted))
    groups: dict[str, list[RunRecord]] = {_protocol(description): []}
    for record in found:
        groups.setdefault(_protocol(vars(record)), []).append(record)
    first, *rest = groups.values()
    others = tuple(_comparison(directory, description, group, ()) for group in rest)
    return replace(_comparison(directory, description, first, wanted), others=others, aside=tuple(aside))


def _is_aside(record: RunRecord, description: dict[str, Any]) -> bool:
    """Whether a record belongs to the latest command beside its comparison."""
    tuning: TuningFacts | None = description.get("tuning")
    if record.role == "run" and record.is_partial:
        return _protocol(vars(record)) == _protocol(description)
    if tuning is None or record.run_id in description["run_ids"]:
        return False
    if record.role == "trial":
        return record.run_id in tuning["trials"]
    defaults = [(each["strategy"], each["hyperparameters"]) for each in tuning["variants"] if each["tried"]]
    untuned = (record.strategy, record.hyperparameters) in defaults
    return untuned and _protocol(vars(record)) == _protocol(description)


def comparison_of(
    directory: Path, description: dict[str, Any], records: Sequence[RunRecord]
) -> LoadedExperiment:
    """``records``, whatever folders they come from, as one experiment that ``description`` describes."""
    return _comparison(directory, description, records, ())


def _comparison(
    directory: Path, description: dict[str, Any], records: Sequence[RunRecord], asked: Iterable[str]
) -> LoadedExperiment:
    """The records of one protocol as an experiment; ``asked`` are the latest command's run ids."""
    kept = _told_apart(_newest(records))
    missing = _missing(description, set(asked) - {record.run_id for record in records})
    by_label = {each["label"]: each for each in description["strategies"]} if asked else {}
    for record in kept:
        by_label.setdefault(record.label, _variant(record))
    own: dict[str, Any] = {"strategies": list(by_label.values())}
    if records and not asked:  # another protocol than the latest command's
        one = records[0]
        own |= {"train_config": one.train_config, "precision": one.precision}
        own["dataset"] = {**description["dataset"], "max_length": one.max_length}
        own["sequential"] = None
    seeds = {record.seed for record in kept} | {seed for each in missing.values() for seed in each}
    return LoadedExperiment(directory, {**description, **own, "seeds": sorted(seeds)}, tuple(kept), missing)


def _same_inputs(record: RunRecord, description: dict[str, Any]) -> bool:
    """Whether a record is of the folder's model and data; one that was copied here from elsewhere is not."""
    ours = (description["model"]["sha256"], description["dataset"]["sha256"])
    return (record.model_sha256, record.dataset_sha256) == ours


def _protocol(about: dict[str, Any]) -> str:
    """What must be equal for two runs to be compared, of a record's fields or of experiment.json."""
    length = about.get("max_length") or (about.get("dataset", {}) and _length(about["dataset"]))
    return json.dumps([about["train_config"], length, about.get("precision") or "fp32"], sort_keys=True)


def _length(dataset: object) -> Any:
    return dataset.get("max_length") if isinstance(dataset, dict) else None


def _order(record: RunRecord, asked: Sequence[str]) -> tuple[int, str]:
    """The latest command's runs in its order, then the others, the newest first of one label's."""
    place = {run_id: number for number, run_id in enumerate(asked)}
    return place.get(record.run_id, len(place)), record.created_at or ""


def _newest(records: Sequence[RunRecord]) -> list[RunRecord]:
    """Of runs with the same settings and seed the one that the latest command asked for, or the newest."""
    kept: dict[str, RunRecord] = {}
    for record in records:
        key = f"{_settings(record)} {record.seed}"
        rival = kept.get(key)
        if rival is None or (not rival.ok and record.ok):
            kept[key] = record
    return list(kept.values())


def _settings(record: RunRecord) -> str:
    return json.dumps([record.label, record.strategy, record.hyperparameters], sort_keys=True)


def _told_apart(records: Sequence[RunRecord]) -> list[RunRecord]:
    """The records with one label for each setting: the first keeps it, others get the fields that differ."""
    first: dict[str, RunRecord] = {}
    result = []
    for record in records:
        owner = first.setdefault(record.label, record)
        if _settings(owner) != _settings(record):
            changed = {
                name: value
                for name, value in record.hyperparameters.items()
                if owner.hyperparameters.get(name) != value
            }
            fields = "+".join(f"{name}={value}" for name, value in changed.items()) or "other"
            record = replace(record, label=f"{record.strategy}@{fields}")
        result.append(record)
    return result


def _missing(description: dict[str, Any], run_ids: set[str]) -> dict[str, tuple[int, ...]]:
    """Label -> seeds of the runs that were asked for and have no record."""
    missing: dict[str, list[int]] = {}
    for run_id, about in description.get("runs", {}).items():
        if run_id in run_ids:
            missing.setdefault(about["label"], []).append(about["seed"])
    return {label: tuple(seeds) for label, seeds in missing.items()}


def _variant(record: RunRecord) -> dict[str, Any]:
    """What experiment.json says of a variant, from a record of it."""
    return {
        "strategy": record.strategy,
        "label": record.label,
        "description": record.description,
        "family": record.family,
        "learning_rate": record.hyperparameters.get("learning_rate"),
        "hyperparameters": record.hyperparameters,
    }
