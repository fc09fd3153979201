"""Runs on subsets and on other splits stand beside the comparison, and claim no more than their tests allow."""

from dataclasses import replace
from pathlib import Path
from shutil import copy

import numpy as np
import pandas as pd
import pytest

from headtohead.experiments import runner
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.record import RunRecord, run_directory, save_record
from headtohead.experiments.sections import sizes, splits
from headtohead.experiments.sections.sizes import Lead
from headtohead.experiments.spec import Experiment
from headtohead.experiments.statistics import Summary, summarise
from tests.experiments.synthetic import Made, write_synthetic
from tests.experiments.tiny import use_tiny_demo, write_messages

TWO = (Made("head", skill=0.9), Made("lora", "low-rank", skill=0.9))
SEEDS = (1, 2, 3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sizes, "draw_chart", lambda summary, chart: None)
    return write_synthetic(tmp_path / "made", TWO, SEEDS)


def with_skill(record: RunRecord, folder: Path, skill: float, **part: object) -> RunRecord:
    """The record of another run that is right about a share ``skill`` of the test messages."""
    split = part.get("split")
    truth = pd.read_csv(folder / "data" / (f"{split}/test.csv" if split else "test.csv"))["Label"].to_numpy()
    seed = [record.seed, len(record.label), *str(part).encode()]
    right = np.random.default_rng(seed).uniform(size=len(truth)) < skill
    name = f"{record.label}-{record.seed}-{'-'.join(map(str, part.values()))}"
    predictions = np.where(right, truth, 1 - truth).tolist()
    changes = {"run_id": name, "test_predictions": predictions, "test_accuracy": float(right.mean()), **part}
    return replace(record, **changes)


def add(folder: Path, skills: dict[str, float], **part: object) -> None:
    for record in load_experiment(folder).records:
        found = with_skill(record, folder, skills[record.label], **part)
        save_record(run_directory(folder, found.run_id), found)


def summary_of(folder: Path) -> Summary:
    return summarise(load_experiment(folder))


def test_a_lead_begins_at_the_size_from_which_it_is_shown(folder: Path) -> None:
    add(folder, {"head": 0.6, "lora": 0.6}, train_size=16)
    add(folder, {"head": 0.6, "lora": 0.95}, train_size=64)
    summary = summary_of(folder)
    assert len(summary.experiment.records) == 6 and len(summary.experiment.aside) == 12
    assert {run.train_size for row in summary.rows for run in row.runs} == {None}
    section = sizes.section(summary)
    assert section is not None
    text = " ".join(section.sentences)
    assert "From 64 messages, beyond chance: lora above head" in text
    assert "16 messages, beyond" not in text
    (table,) = section.tables
    assert table.headings == ("strategy", "16 messages", "64 messages", "all 1,045 messages")


def test_without_leads_nothing_is_claimed_and_a_turn_is_said() -> None:
    assert "At no size" in sizes._begins([], [16, 64], 64)[0]
    said = " ".join(sizes._begins([Lead("a", "b", 16), Lead("b", "a", 64)], [16, 64], 64))
    assert "Already with 16 messages, beyond chance: a above b (the other way round elsewhere)" in said
    assert "From all 64 messages, beyond chance: b above a (the other way round elsewhere)" in said


def other_split(folder: Path, name: str) -> None:
    (folder / "data" / name).mkdir()
    copy(folder / "data" / "test.csv", folder / "data" / name / "test.csv")


def test_splits_count_and_name_what_was_varied(folder: Path) -> None:
    for number in (2, 3, 4, 5):
        other_split(folder, f"random-{number}")
        add(folder, {"head": 0.7, "lora": 0.9}, split=f"random-{number}")
    other_split(folder, "short-to-long")
    add(folder, {"head": 0.95, "lora": 0.5}, split="short-to-long")
    section = splits.section(summary_of(folder))
    assert section is not None
    text = " ".join(section.sentences)
    assert "5 splits of the same sizes" in text and "the seed (3:" in text and "Not varied" in text
    assert "trained and validated on the shorter messages" in text and "head is the highest there" in text
    assert "Below it beyond chance, over its messages and seeds: lora." in text
    over, shift = section.tables
    assert {row[0] for row in over.rows} == {"head", "lora"}
    chance = next(row[3] for row in over.rows if row[0] == "head")
    assert chance.endswith(")") and 50 < float(chance.split(" %")[0]) <= 100
    assert shift.rows[0][0] == "head" and shift.rows[0][3].startswith("+")


def test_a_strategy_without_all_its_runs_is_left_out(folder: Path) -> None:
    other_split(folder, "random-2")
    add(folder, {"head": 0.7, "lora": 0.9}, split="random-2")
    for path in (folder / "runs").glob("lora-*-random-2"):
        (path / "record.json").unlink()
    section = splits.section(summary_of(folder))
    assert section is not None and "Left out, for want of runs: lora." in section.sentences[0]


@pytest.mark.slow
def test_shards_deal_out_what_stands_beside_the_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("headtohead.experiments.report.draw_all", lambda summary: [])
    settings = {
        "strategies": "head,majority", "model": "demo", "data": str(write_messages(tmp_path / "messages.tsv")),
        "seeds": "1,2", "epochs": 1, "device": "cpu", "name": "x", "splits": "2", "train_sizes": "8",
    }  # fmt: skip
    folders = []
    for part in ("1/2", "2/2"):
        runner.compare(Experiment.of({**settings, "shard": part, "results_dir": tmp_path / part[0]}))
        folders.append(tmp_path / part[0] / "x")
    ids = [{path.name for path in (folder / "runs").iterdir()} for folder in folders]
    assert all(ids) and not ids[0] & ids[1] and len(ids[0] | ids[1]) == 3 * 2 * 2
    experiment = runner.merge(folders, tmp_path / "both", None).experiment
    assert len(experiment.records) == 4 and len(experiment.aside) == 8
    assert (tmp_path / "both" / "x" / "data" / "random-2" / "test.csv").is_file()


def test_the_names_of_splits() -> None:
    assert Experiment.of({"splits": "3,short-to-long"}).data.splits == (
        "random-2",
        "random-3",
        "short-to-long",
    )
    assert Experiment.of({"train_sizes": "64,16,all"}).data.train_sizes == (16, 64)
