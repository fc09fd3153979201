"""What experiment.json and every record say of an experiment."""

from dataclasses import asdict
from typing import Any

from headtohead.core.engine import Part
from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.experiments.agenda import Agenda
from headtohead.experiments.folder import EXPERIMENT_FILE, read_description
from headtohead.experiments.identity import git_state
from headtohead.experiments.record import RECORD_FILE, SCHEMA_VERSION, load_record, to_json
from headtohead.experiments.runs import now, variant_facts


def write_description(agenda: Agenda) -> None:
    """data/*.csv and experiment.json."""
    for name, content in agenda.inputs.dataset.csv.items():
        write_bytes_atomic(agenda.directory / "data" / f"{name}.csv", content)
    for split in agenda.experiment.data.splits:
        for name, content in agenda.engine.of(Part(split=split)).dataset.csv.items():
            write_bytes_atomic(agenda.directory / "data" / split / f"{name}.csv", content)
    write_text_atomic(agenda.directory / EXPERIMENT_FILE, to_json(description_of(agenda)))


def description_of(agenda: Agenda) -> dict[str, Any]:
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
        "tuning": _tuning(agenda),
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


def _tuning(agenda: Agenda) -> dict[str, Any] | None:
    """What was tried: by this command, and by earlier ones of strategies that it does not try in another way."""
    own = agenda.tuning and agenda.tuning.facts([run.run_id for run in agenda.trials])
    path = agenda.directory / EXPERIMENT_FILE
    before: dict[str, Any] | None = (
        read_description(agenda.directory).get("tuning") if path.is_file() else None
    )
    if not own or not before:
        return own or before
    if any(own[name] != before[name] for name in ("seeds", "epochs", "full")):
        return own
    again = {each["label"] for each in own["variants"]}
    kept = [each for each in before["variants"] if each["label"] not in again]
    if not kept:
        return own
    records = (load_record(file.parent) for file in sorted(agenda.directory.glob(f"runs/*/{RECORD_FILE}")))
    trials = [
        each.run_id for each in records if each.run_id in before["trials"] and each.trial_of not in again
    ]
    return {
        **own,
        "variants": [*own["variants"], *kept],
        "trials": list(dict.fromkeys([*own["trials"], *trials])),
    }


def shared_facts(agenda: Agenda) -> dict[str, Any]:
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
