"""The book's own numbers: the whole command agrees with what the book's package computed on the same input.

Needs the development data folder: the real messages, a small checkpoint in OpenAI's format and the traces.
"""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from headtohead.experiments import command_line
from tests.paths import GOLDEN, SMS, TINY_CHECKPOINT, WHY_SKIPPED

pytestmark = pytest.mark.skipif(not (GOLDEN.is_file() and SMS.is_file()), reason=WHY_SKIPPED)

# Rows of the book's bonus experiments that the traces hold, by our labels.
BONUS = {1: "last_block", 3: "head"}
LONG_BONUS = {4: "last_n_blocks@n=2", 5: "all_layers"}
# Our labels, and the names under which the traces hold the same runs.
QUICK = {"head": "head", "last_block": "last_block"}
LONG = {"lora": "lora_peft", "all_layers": "all", "last_n_blocks@n=2": "last_two_blocks"}
LOSS_TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The experiment's folder after head and last block."""
    return compare(QUICK, tmp_path_factory.mktemp("quick"), cache)


def compare(labels: dict[str, str], folder: Path, cache: Path, device: str = "cpu") -> Path:
    """Run the comparison of ``labels`` into ``folder``; return the experiment's folder."""
    argv = ["--strategies", ",".join(labels), "--weights-dir", str(TINY_CHECKPOINT), "--data", str(SMS)]
    argv += [
        "--seeds",
        "123",
        "--device",
        device,
        "--name",
        "golden",
        "--results-dir",
        str(folder),
        "--offline",
    ]
    if "lora" in labels:  # the traces' LoRA trained at the rate of the other strategies
        argv += ["--set", "lora.learning_rate=5e-5"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADTOHEAD_CACHE", str(cache))
        assert command_line.main(argv) == command_line.EXIT_OK
    return folder / "golden"


def golden() -> dict[str, Any]:
    traces: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return traces


def record_and_history(directory: Path, label: str) -> tuple[dict[str, Any], list[dict[str, str]]]:
    records = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    (record,) = [each for each in records if each["label"] == label]
    text = (directory / "runs" / record["run_id"] / "history.csv").read_text(encoding="utf-8")
    return record, list(csv.DictReader(text.splitlines()))


def column(history: list[dict[str, str]], name: str) -> list[float]:
    """The measured values of one column, in the order in which they were measured."""
    return [float(row[name]) for row in history if row[name]]


def assert_agrees(directory: Path, label: str, trace: dict[str, Any]) -> None:
    record, history = record_and_history(directory, label)
    assert column(history, "train_loss") == pytest.approx(trace["train_losses"], rel=0, abs=LOSS_TOLERANCE)
    assert column(history, "validation_loss") == pytest.approx(trace["val_losses"], rel=0, abs=LOSS_TOLERANCE)
    # Accuracies are shares of a few messages: a difference would be a message, so they agree to the last digit.
    assert column(history, "train_accuracy") == trace["train_accs"]
    assert column(history, "validation_accuracy") == trace["val_accs"]
    final = {split: record[f"{split}_accuracy"] for split in ("train", "validation", "test")}
    assert final == trace["final_accuracy"]
    assert record["trainable_params"] == trace["trainable_parameters"]
    assert record["examples_seen"] == trace["examples_seen"]


def test_the_three_csv_files_are_the_books(quick: Path) -> None:
    import hashlib

    found = {
        split: hashlib.sha256((quick / "data" / f"{split}.csv").read_bytes()).hexdigest()
        for split in ("train", "validation", "test")
    }
    assert found == golden()["csv_sha256"]


@pytest.mark.parametrize(("label", "name"), QUICK.items())
def test_losses_and_accuracies_are_the_books(quick: Path, label: str, name: str) -> None:
    assert_agrees(quick, label, golden()["runs"][name])


def run_bonus(rows: dict[int, str], folder: Path, cache: Path) -> Path:
    """The experiment's folder after some rows of the preset bonus."""
    argv = ["--preset", "bonus", "--rows", ",".join(map(str, rows)), "--weights-dir", str(TINY_CHECKPOINT)]
    argv += ["--data", str(SMS), "--device", "cpu", "--offline", "--results-dir", str(folder)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADTOHEAD_CACHE", str(cache))
        assert command_line.main(argv) == command_line.EXIT_OK
    return folder / "bonus"


@pytest.mark.slow
@pytest.mark.parametrize("rows", [BONUS, LONG_BONUS])
def test_rows_of_the_bonus_are_the_books(rows: dict[int, str], tmp_path: Path, cache: Path) -> None:
    directory = run_bonus(rows, tmp_path, cache)
    for label in rows.values():
        assert_agrees(directory, label, golden()["runs"][{**QUICK, **LONG}[label]])
    table = (tmp_path / "bonus.csv").read_text(encoding="utf-8")
    assert [line.partition(",")[0] for line in table.splitlines()[1:]] == [str(row) for row in rows]
    # Not GPT-2's weights, so no published figure stands beside ours.
    assert "95.00" not in table and "No published figure" in (tmp_path / "bonus.md").read_text(
        encoding="utf-8"
    )
    assert "none stands beside ours" in (directory / "report.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(("label", "name"), LONG.items())
def test_losses_and_accuracies_are_the_books_for_long_runs(
    tmp_path: Path, cache: Path, label: str, name: str
) -> None:
    assert_agrees(compare({label: name}, tmp_path, cache), label, golden()["runs"][name])


# All products by the other library for every run; each kind alone for one that has all kinds.
FORCED_RUNS = [
    *((label, name, "all") for label, name in {**QUICK, **LONG}.items()),
    *(("lora", LONG["lora"], kind) for kind in ("forward", "input", "weight")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("label", "name", "forced"), FORCED_RUNS)
def test_losses_are_the_books_whichever_library_computes_what(
    tmp_path: Path, cache: Path, label: str, name: str, forced: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headtohead.core.engine import engine
    from tests.core.engine.test_products import FORCED

    monkeypatch.setattr(engine, "SMALL", 0)  # the checkpoint of the traces is narrower than what pays
    monkeypatch.setattr(engine, "find_products", lambda emb_dim: FORCED[forced])
    assert_agrees(compare({label: name}, tmp_path, cache), label, golden()["runs"][name])
