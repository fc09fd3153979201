"""A folder accumulates: nothing that was finished vanishes from a report without being asked to."""

import json
from dataclasses import replace
from pathlib import Path

from headtohead.experiments.folder import load_experiment
from headtohead.experiments.record import load_record, run_directory, save_record
from headtohead.experiments.report import write_report
from headtohead.experiments.statistics import summarise
from tests.experiments.synthetic import FOUR, write_synthetic


def change(directory: Path, **values: object) -> None:
    """Change experiment.json as a later command would."""
    path = directory / "experiment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_narrower_command_hides_nothing(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", seeds=(1, 2))
    about = json.loads((directory / "experiment.json").read_text())
    change(directory, strategies=about["strategies"][:1], seeds=[1], run_ids=["head-s1"], runs={})
    loaded = load_experiment(directory)
    assert len(loaded.records) == 2 * len(FOUR)
    labels = [each["label"] for each in loaded.description["strategies"]]
    assert labels[0] == "head" and set(labels) == {made.label for made in FOUR}
    assert loaded.description["seeds"] == [1, 2]
    change(directory, only=True)
    assert [record.run_id for record in load_experiment(directory).records] == ["head-s1"]


def test_another_protocol_is_a_comparison_of_its_own(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    run = run_directory(directory, "head-s123")
    record = load_record(run)
    shorter = replace(record, run_id="head-s123-short", train_config={**record.train_config, "epochs": 1})
    save_record(run_directory(directory, shorter.run_id), shorter)
    loaded = load_experiment(directory)
    assert len(loaded.records) == len(FOUR)
    (other,) = loaded.others
    assert [each.run_id for each in other.records] == ["head-s123-short"]
    assert other.description["train_config"]["epochs"] == 1
    summary = summarise(loaded)
    paths = write_report(summary)
    for name in ("report.md", "report.html"):
        assert "Under another protocol: 1 epoch, batches of 8" in paths[name].read_text(encoding="utf-8")


def test_settings_that_share_a_label_are_told_apart(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    record = load_record(run_directory(directory, "head-s123"))
    other = replace(
        record, run_id="head-s123-other", hyperparameters={**record.hyperparameters, "learning_rate": 0.01}
    )
    save_record(run_directory(directory, other.run_id), other)
    labels = [each.label for each in load_experiment(directory).records]
    assert labels == [*(made.label for made in FOUR), "head@learning_rate=0.01"]


def test_a_run_done_again_replaces_the_older_one(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    record = load_record(run_directory(directory, "head-s123"))
    save_record(run_directory(directory, "head-s123-older"), replace(record, run_id="head-s123-older"))
    loaded = load_experiment(directory)
    assert [each.run_id for each in loaded.records if each.label == "head"] == ["head-s123"]


def test_runs_on_other_data_are_left_out(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    run = run_directory(directory, "head-s123")
    save_record(run, replace(load_record(run), dataset_sha256="f" * 64))
    assert "head-s123" not in [record.run_id for record in load_experiment(directory).records]
