"""The runner: runs written whole, finished ones kept, failures and interruptions isolated."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import pandas as pd
import pytest
from rich.console import Console

from headtohead.core.engine import Engine
from headtohead.core.errors import InputError
from headtohead.experiments import runner
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.live import Live
from headtohead.experiments.lock import LOCK_FILE
from headtohead.experiments.record import HISTORY_COLUMNS
from headtohead.experiments.spec import Experiment
from headtohead.experiments.statistics import Summary
from tests import small
from tests.experiments.tiny import BIASES, FAILS, use_tiny_demo, write_messages, write_plugin
from tests.paths import ROOT


@dataclass
class Bench:
    """A tiny experiment in a folder of its own, and what the terminal showed of its latest run."""

    folder: Path
    settings: dict[str, Any]
    shown: str = ""

    def run(self, **changes: Any) -> Summary:
        console = Console(file=io.StringIO(), width=200)
        try:
            return runner.compare(
                Experiment.of({**self.settings, **changes}, "python run_all.py"), Live(console)
            )
        finally:
            self.shown = console.file.getvalue()  # type: ignore[attr-defined]

    @property
    def results(self) -> Path:
        return Path(self.settings["results_dir"])

    @property
    def directory(self) -> Path:
        return self.results / "tiny"

    def run_folders(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "runs").iterdir())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    # Plots take seconds and have tests of their own.
    monkeypatch.setattr("headtohead.experiments.report.draw_all", lambda summary: [])
    settings = {
        "strategies": ("head", "last_block"),
        "model": "demo",
        "data": str(write_messages(tmp_path / "messages.tsv")),
        "seeds": (123,),
        "epochs": 1,
        "device": "cpu",
        "results_dir": tmp_path / "results",
        "name": "tiny",
    }
    return Bench(tmp_path, settings)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(label, seed) of every run that is trained from here on."""
    trained: list[tuple[str, int]] = []
    watch_fit(monkeypatch, lambda label, seed: trained.append((label, seed)))
    return trained


def watch_fit(monkeypatch: pytest.MonkeyPatch, before: Callable[[str, int], None]) -> None:
    fit = Engine.fit

    def watched(self: Engine, variant: Any, seed: int, *rest: Any) -> Any:
        before(variant.label, seed)
        return fit(self, variant, seed, *rest)

    monkeypatch.setattr(Engine, "fit", watched)


def test_an_experiment_leaves_everything_that_is_promised(bench: Bench) -> None:
    assert not bench.run(seeds=(1, 2)).failed
    loaded = load_experiment(bench.directory)
    assert [(record.label, record.seed) for record in loaded.records] == [
        ("head", 1), ("head", 2), ("last_block", 1), ("last_block", 2),
    ]  # fmt: skip
    for record in loaded.records:
        folder = bench.directory / "runs" / record.run_id
        names = ["classifier", "history.csv", "log.txt", "record.json"]
        assert sorted(path.name for path in folder.iterdir()) == names
        assert tuple(pd.read_csv(folder / "history.csv").columns) == HISTORY_COLUMNS
        assert record.test_predictions is not None and len(record.test_predictions) == 8
        assert record.train_seconds and record.total_seconds and record.environment["torch"]
    for name in (
        "data/train.csv",
        "data/validation.csv",
        "data/test.csv",
        "report.md",
        "report.html",
        "summary.csv",
    ):
        assert (bench.directory / name).stat().st_size > 0
    assert len(json.loads((bench.directory / "results.json").read_text())) == 4


def test_the_record_agrees_with_its_own_predictions(bench: Bench) -> None:
    bench.run(strategies=("all_layers",), epochs=3)
    (record,) = load_experiment(bench.directory).records
    labels = pd.read_csv(bench.directory / "data" / "test.csv")["Label"].tolist()
    predictions = record.test_predictions
    assert predictions is not None
    agreeing = sum(label == prediction for label, prediction in zip(labels, predictions, strict=True))
    assert record.test_accuracy == pytest.approx(agreeing / len(labels))
    assert record.trainable_percent == pytest.approx(100)
    assert (record.epochs, record.steps, record.examples_seen) == (3, 9, 72)


@pytest.mark.slow
def test_what_training_needs_above_the_model_does_not_depend_on_the_order(bench: Bench) -> None:
    bench.run(strategies=("all_layers", "lora"), name="one")
    bench.run(strategies=("lora", "all_layers"), name="other")
    needed: dict[str, list[int]] = {}
    for name in ("one", "other"):
        for record in load_experiment(bench.results / name).records:
            assert record.memory_above_model_bytes is not None
            needed.setdefault(record.label, []).append(record.memory_above_model_bytes)
    assert all(abs(first - second) < 16 * 2**20 for first, second in needed.values())


def test_choosing_settings_is_timed_apart_from_the_fit(bench: Bench) -> None:
    bench.run(strategies=("tfidf_logreg", "majority"))
    chosen, plain = load_experiment(bench.directory).records
    assert (
        chosen.selection_seconds and chosen.train_seconds and chosen.selection_seconds > chosen.train_seconds
    )
    assert plain.selection_seconds is None


def test_a_finished_run_is_not_run_again_and_this_is_said(bench: Bench, fits: list[tuple[str, int]]) -> None:
    bench.run()
    assert fits == [("head", 123), ("last_block", 123)]
    bench.run()
    assert len(fits) == 2 and "Nothing to train" in bench.shown
    bench.run(seeds=(123, 124))
    assert fits[2:] == [("head", 124), ("last_block", 124)] and "2 finished already" in bench.shown


def test_force_does_finished_runs_again(bench: Bench, fits: list[tuple[str, int]]) -> None:
    bench.run()
    before = bench.run_folders()
    bench.run(force=True)
    assert len(fits) == 4 and bench.run_folders() == before


def test_a_failing_strategy_stops_no_other_and_is_tried_again(
    bench: Bench, fits: list[tuple[str, int]]
) -> None:
    plugin = write_plugin(bench.folder / "elsewhere", "fails", FAILS)
    setup: dict[str, Any] = {"strategies": ("fails", "head"), "plugin": (plugin,)}
    assert len(bench.run(**setup).failed) == 1
    failed, good = load_experiment(bench.directory).records
    assert (failed.status, failed.error) == ("failed", "RuntimeError: this strategy always fails")
    assert good.ok and failed.test_accuracy is None
    folder = bench.directory / "runs" / failed.run_id
    assert sorted(path.name for path in folder.iterdir()) == ["record.json", "traceback.txt"]
    assert "in after_step" in (folder / "traceback.txt").read_text()
    assert "this strategy always fails" in bench.shown and "this strategy always fails" in report(bench)
    bench.run(**setup)
    assert fits == [("fails", 123), ("head", 123), ("fails", 123)]


def test_ctrl_c_keeps_what_is_finished_and_a_rerun_continues(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(label: str, seed: int) -> None:
        if label == "last_block":
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        watch_fit(patched, interrupt)
        with pytest.raises(KeyboardInterrupt):
            bench.run()
    assert "the same command continues" in bench.shown and "1 of 2 runs" in bench.shown
    assert [name.split("-")[0] for name in bench.run_folders()] == ["head"]
    assert "head" in report(bench)
    trained: list[str] = []
    watch_fit(monkeypatch, lambda label, seed: trained.append(label))
    bench.run()
    assert trained == ["last_block"]


def test_kill_9_loses_only_the_run_in_flight(bench: Bench, fits: list[tuple[str, int]]) -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    body = FAILS.replace('raise RuntimeError("this strategy always fails")', kill)
    plugin = write_plugin(bench.folder / "elsewhere", "dies", body)
    code = (
        "import sys, pytest; from headtohead.experiments import command_line; from tests import small;"
        "small.use_tiny_demo(pytest.MonkeyPatch()); sys.exit(command_line.main(sys.argv[1:]))"
    )
    argv = ["--strategies", "head,dies", "--plugin", plugin, "--model", "demo", "--data", bench.settings["data"],
            "--seeds", "123", "--epochs", "1", "--device", "cpu", "--name", "tiny",
            "--results-dir", bench.results]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, argv)], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [name[:5] for name in bench.run_folders()] == ["head-"]
    assert (bench.directory / runner.SCRATCH).exists()  # what the killed process was making
    write_plugin(bench.folder / "elsewhere", "dies", BIASES)
    assert not bench.run(strategies=("head", "dies"), plugin=(plugin,)).failed
    assert fits == [("dies", 123)]
    assert [name[:5] for name in bench.run_folders()] == ["dies-", "head-"]


def test_two_processes_do_not_write_the_same_experiment(bench: Bench) -> None:
    bench.directory.mkdir(parents=True)
    with (
        filelock.FileLock(bench.directory / LOCK_FILE),
        pytest.raises(InputError, match="another process"),
    ):
        bench.run()
    assert [path.name for path in bench.directory.iterdir()] in ([], [LOCK_FILE])
    assert not bench.run().failed


def test_a_plugin_from_outside_runs_and_is_in_the_report(bench: Bench) -> None:
    assert len(BIASES.splitlines()) <= 20
    plugin = write_plugin(bench.folder / "elsewhere", "biases", BIASES)
    assert not bench.run(strategies=("head", "biases"), plugin=(plugin,)).failed
    assert "biases" in report(bench)
    record = load_experiment(bench.directory).records[1]
    dim = small.TINY_DEMO.emb_dim
    assert record.trainable_params == small.TINY_DEMO.n_layers * (4 * dim + 4 * dim + dim) + 2 * dim + 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 1000}, "--batch-size 1000"),
        ({"strategies": ("haed",)}, "did you mean 'head'"),
        ({"set": ("lora.r=4",)}, "no strategy 'lora'"),
        ({"data": "nowhere.tsv"}, "nowhere.tsv"),
        ({"max_length": 65}, "64"),
        ({"plugin": (Path("nowhere.py"),), "strategies": ("nowhere",)}, "nowhere.py"),
        ({"device": "cuda:99"}, "--device cuda:99"),
    ],
)
def test_what_makes_the_experiment_impossible_writes_nothing(
    bench: Bench, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        bench.run(**changes)
    assert not bench.results.exists()


def test_a_plugin_that_cannot_be_imported_is_named_with_its_line(bench: Bench) -> None:
    plugin = write_plugin(bench.folder / "elsewhere", "broken", "import no_such_module_anywhere\n")
    with pytest.raises(InputError, match="line 1: No module named"):
        bench.run(strategies=("broken",), plugin=(plugin,))


def test_results_that_cannot_be_written_are_an_error(bench: Bench) -> None:
    blocked = bench.folder / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="is a file; name a folder"):
        bench.run(results_dir=blocked)


def test_report_again_needs_an_experiment_that_exists(bench: Bench) -> None:
    with pytest.raises(InputError, match="none"):
        runner.report_again(bench.results, None)
    bench.run(strategies=("head",))
    (bench.directory / "report.md").unlink()
    runner.report_again(bench.results, None)
    assert "head" in report(bench)
    with pytest.raises(InputError, match="tiny"):
        runner.report_again(bench.results, "other")


def report(bench: Bench) -> str:
    return (bench.directory / "report.md").read_text(encoding="utf-8")


def test_a_narrower_command_narrows_the_report_only_when_asked(bench: Bench) -> None:
    bench.run(seeds=(1, 2))
    bench.run(strategies=("head",), seeds=(1,))
    assert "last_block" in report(bench)
    bench.run(strategies=("head",), seeds=(1,), only=True)
    assert "last_block" not in report(bench)


def test_other_data_never_shares_a_folder(bench: Bench) -> None:
    bench.run(strategies=("head",))
    other = write_messages(bench.folder / "messages.csv", rows_per_class=22)
    other.write_text(other.read_text().replace("\t", ","))
    with pytest.raises(InputError, match="that folder holds runs on other data"):
        bench.run(strategies=("head",), data=str(other))
    names = []
    for data in (bench.settings["data"], str(other), str(other)):
        summary = bench.run(strategies=("head",), data=data, name=None)
        names.append(summary.experiment.directory.name)
    assert names[0] == "messages-demo" and names[1] == names[2] != names[0]


def test_compare_needs_no_console_and_answers_with_a_table(bench: Bench) -> None:
    import headtohead

    summary = headtohead.compare(**{**bench.settings, "strategies": ["head"], "name": "quiet"})
    assert list(summary.table()["label"]) == ["head"]
    assert (bench.results / "quiet" / "report.html").is_file()
    with pytest.raises(InputError, match="there is no setting 'epoch'; did you mean 'epochs'"):
        headtohead.compare(epoch=1)
