"""Runs in processes of their own: what is handed over, what a dying process leaves, and that order does not matter."""

import json
import os
from pathlib import Path

import pytest

from headtohead.experiments.launchers import isolated
from headtohead.experiments.launchers.isolated import IsolatedLauncher, rebuild_run
from headtohead.experiments.record import load_record, to_json
from headtohead.experiments.runner import compare
from headtohead.experiments.runs import Run
from headtohead.experiments.spec import Experiment
from headtohead.experiments.watch import Watcher
from headtohead.strategies import build_variants

GIVEN = {
    "strategies": "head,lora@r=4",
    "set": ["lora.alpha=8"],
    "seeds": "3,4",
    "model": "demo",
    "data": "demo",
    "no_balance": True,
    "epochs": "2",
    "results_dir": "somewhere",
    "isolate": True,
    "price_per_hour": "1.5",
}


def test_an_experiment_comes_back_from_what_json_keeps_of_it() -> None:
    experiment = Experiment.of(GIVEN)
    assert Experiment.of(json.loads(to_json(experiment.given()))) == experiment
    assert Experiment.of(json.loads(to_json(Experiment.of({}).given()))) == Experiment.of({})


@pytest.mark.parametrize("label", ["lora@r=4+alpha=8", "adalora", "tfidf_logreg"])
def test_a_run_comes_back_with_exactly_its_fields(label: str, tmp_path: Path) -> None:
    (variant,) = build_variants([label])
    launcher = IsolatedLauncher(Experiment.of(GIVEN), ["data"], tmp_path, {"model": "demo"})
    parcel = json.loads(to_json(launcher._parcel(Run(variant, 7, "some-id"))))
    assert rebuild_run(parcel, ()) == Run(variant, 7, "some-id")
    assert parcel["facts"] == {"model": "demo", "isolated": True}
    assert parcel["given"]["data"] == "demo"


def test_a_process_that_dies_leaves_a_failed_record_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (variant,) = build_variants(["head"])
    monkeypatch.setattr(isolated, "__name__", "headtohead.experiments.launchers.nowhere")
    facts = {"train_config": {"epochs": 1}, "environment": {}}
    launcher = IsolatedLauncher(Experiment.of(GIVEN), [], tmp_path / "scratch", facts)
    ((_, folder),) = launcher.launch([[Run(variant, 7, "some-id")]], Watcher())
    record = load_record(folder)
    assert not record.ok and "ended with code 1" in str(record.error) and "nowhere" in str(record.error)


@pytest.mark.slow
@pytest.mark.timeout(900)  # nine processes, each of which imports everything
def test_first_and_last_in_one_experiment_agree(tmp_path: Path) -> None:
    first, last = "last_block", "last_block@weight_decay=0.1"  # the same under two labels
    given = {"strategies": f"{first},head,{last}", "seeds": "1,2,3", "model": "demo", "data": "demo"}
    experiment = Experiment.of({**given, "epochs": "1", "isolate": True, "results_dir": str(tmp_path)})
    rows = {row.label: row for row in compare(experiment).rows}
    assert all(run.isolated and not run.grouped for row in rows.values() for run in row.runs)
    compared = [("peak_memory_bytes", 0.02), ("memory_above_model_bytes", 0.15)]
    if "PYTEST_XDIST_WORKER" not in os.environ:  # times mean nothing while other tests run beside this one
        compared.append(("train_seconds", 0.1))
    for name, least in compared:
        one, other = rows[first].timing(name), rows[last].timing(name)
        assert one is not None and other is not None and one.sd is not None and other.sd is not None
        # Within what repeats differ by (three standard errors), or a little where they hardly differ.
        allowed = max(3 * ((one.sd**2 + other.sd**2) / 3) ** 0.5, least * one.mean)
        assert abs(one.mean - other.mean) <= allowed, name
