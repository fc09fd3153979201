"""Two nodes on this machine: the same numbers as the local launcher, whatever dies on the way."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import headtohead
from headtohead.experiments import runner
from headtohead.experiments.live import Live
from headtohead.experiments.record import load_history, load_record
from headtohead.experiments.spec import Experiment
from tests import small
from tests.experiments.tiny import BIASES, FAILS, use_tiny_demo, write_messages, write_plugin

pytest.importorskip("ray", reason="the extra `ray` is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # seconds; clusters start slowly

STRATEGIES = ("head", "last_block", "lora@r=2", "biases")
SEEDS = (1, 2, 3)


@dataclass
class Nodes:
    """Two nodes with a cache each, and an empty folder to work in."""

    folder: Path
    cluster: Any
    address: str
    workers: list[Any] = field(default_factory=list)

    @property
    def caches(self) -> list[Path]:
        return sorted(self.folder.glob("cache-*"))

    def add(self) -> Any:
        cache = self.folder / f"cache-{len(self.workers)}"
        node = self.cluster.add_node(num_cpus=1, env_vars={"HEADTOHEAD_CACHE": str(cache)})
        self.workers.append(node)
        return node


@pytest.fixture
def nodes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    folder = tmp_path_factory.mktemp("nodes")
    empty = folder / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    # The head carries no run, so that a node can go without taking the cluster along.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    found = Nodes(folder, cluster, cluster.address)
    found.add()
    found.add()
    yield found
    cluster.shutdown()


@dataclass
class Bench:
    folder: Path
    settings: dict[str, Any]
    shown: str = ""

    def run(self, results: str, **changes: Any) -> Path:
        """The results' folder of an experiment."""
        console = Console(file=io.StringIO(), width=200)
        given = {**self.settings, "results_dir": self.folder / results, **changes}
        try:
            runner.compare(Experiment.of(given, "python run_all.py"), Live(console))
        finally:
            self.shown = console.file.getvalue()  # type: ignore[attr-defined]
        return self.folder / results / "tiny"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("headtohead.experiments.report.draw_all", lambda summary: [])
    plugin = write_plugin(tmp_path / "mine", "biases", BIASES)
    settings = {
        "strategies": STRATEGIES,
        "plugin": (plugin,),
        "model": "demo",
        "data": str(write_messages(tmp_path / "messages.tsv", 60)),
        "seeds": SEEDS,
        "epochs": 2,
        "device": "cpu",
        "name": "tiny",
    }
    return Bench(tmp_path, settings)


def records(folder: Path) -> dict[str, Any]:
    return {path.name: load_record(path) for path in sorted((folder / "runs").iterdir())}


def assert_same(found: Path, expected: Path) -> None:
    """Every loss to 1e-6, accuracies and predictions exact."""
    ours, theirs = records(found), records(expected)
    assert list(ours) == list(theirs) and len(ours) == len(STRATEGIES) * len(SEEDS)
    for run_id, record in ours.items():
        other = theirs[run_id]
        assert record.ok, record.error
        for name in ("train_accuracy", "validation_accuracy", "test_accuracy", "test_predictions", "steps"):
            assert getattr(record, name) == getattr(other, name)
        assert record.test_loss == pytest.approx(other.test_loss, abs=1e-6)
        history, expected_history = (load_history(path / "runs" / run_id) for path in (found, expected))
        assert history is not None and expected_history is not None
        for column in history.columns:
            assert history[column].tolist() == pytest.approx(
                expected_history[column].tolist(), abs=1e-6, nan_ok=True
            )


def test_a_cluster_gives_the_local_numbers_and_reads_nothing_shared(
    bench: Bench, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headtohead.experiments.launchers.ray import RayLauncher

    local = bench.run("local")
    launchers = []
    launch = RayLauncher.launch

    def hidden(self: RayLauncher, groups: Any, watch: Any) -> Any:
        """As before, with everything that this process has read out of reach of the workers."""
        launchers.append(self)
        shutil.move(bench.folder / "messages.tsv", bench.folder / "gone.tsv")
        shutil.rmtree(bench.folder / "cache", ignore_errors=True)
        yield from launch(self, groups, watch)

    monkeypatch.setattr(RayLauncher, "launch", hidden)
    cluster = bench.run("cluster", launcher="ray", address=nodes.address)
    assert_same(cluster, local)
    ours = records(cluster).values()
    assert {record.launcher for record in ours} == {"ray"} and {record.retries for record in ours} == {0}
    assert len({record.environment["node"] for record in ours}) == 2, "a node stayed idle"
    engine = launchers[0].engine
    assert launchers[0].passed == len(engine.sequences), "the frozen prefix was not computed once"
    assert engine.prefix.passed == 0
    # Each node has the weights once, and nothing was left in, or read from, where the workers were started.
    for cache in nodes.caches:
        assert len(list(cache.glob("cluster/*.safetensors"))) == 1
    assert list((nodes.folder / "empty").iterdir()) == []
    run = next(path for path in (cluster / "runs").iterdir() if path.name.startswith("biases"))
    info = json.loads((run / "classifier" / "classifier.json").read_text())
    assert info["plugin"] == str(bench.settings["plugin"][0])
    assert headtohead.load_classifier(run).classify(["WIN 5 pounds NOW"])


def test_a_killed_worker_and_a_removed_node_cost_no_run(bench: Bench, nodes: Nodes) -> None:
    local = bench.run("local", epochs=30)
    killed: list[int] = []

    def disturb() -> None:
        """Kill the first worker that is seen in the middle of runs, then take its node away."""
        results = bench.folder / "cluster" / "tiny" / "runs"
        while not (results.is_dir() and list(results.iterdir())):
            time.sleep(0.01)
        worker = next(pid for pid in workers() if pid not in killed)
        os.kill(worker, signal.SIGKILL)
        killed.append(worker)
        time.sleep(1.0)
        nodes.cluster.remove_node(nodes.workers[0], allow_graceful=False)

    thread = threading.Thread(target=disturb)
    thread.start()
    cluster = bench.run("cluster", launcher="ray", address=nodes.address, epochs=30)
    thread.join()
    assert killed
    assert_same(cluster, local)
    again = [record for record in records(cluster).values() if record.retries]
    assert again, "nothing was in flight when the worker died"
    report = (cluster / "report.md").read_text(encoding="utf-8")
    for record in again:
        assert f"{record.label}, seed {record.seed}" in report.partition("began again")[2]
    assert "will begin again" in bench.shown


def workers() -> list[int]:
    """Process ids of Ray's workers that are doing a group of this test's runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().decode(errors="replace")
            parent = (path.parent / "stat").read_text().split()
        except OSError:
            continue
        if text.startswith("ray::_do_group") and parent:
            found.append(int(path.parent.name))
    return found


def test_a_strategy_that_fails_is_a_failed_row_that_is_not_retried(bench: Bench, nodes: Nodes) -> None:
    fails = write_plugin(bench.folder / "mine", "fails", FAILS)
    folder = bench.run(
        "cluster",
        launcher="ray",
        address=nodes.address,
        strategies=("head", "fails"),
        plugin=(fails,),
        seeds=(1,),
    )
    failed = next(record for record in records(folder).values() if not record.ok)
    assert failed.error == "RuntimeError: this strategy always fails" and failed.retries == 0
    assert "this strategy always fails" in (folder / "runs" / failed.run_id / "traceback.txt").read_text()


def test_a_killed_driver_loses_only_what_was_in_flight(
    bench: Bench, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--launcher", "ray", "--address", nodes.address]
    driver = start_driver(bench, nodes, words)
    runs = bench.folder / "cluster" / "tiny" / "runs"
    while not (runs.is_dir() and len(list(runs.iterdir())) >= 3):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)
    driver.kill()
    driver.communicate()
    kept = {path.name: (path / "record.json").read_bytes() for path in runs.iterdir()}
    assert 3 <= len(kept) < 12
    again = start_driver(bench, nodes, words)
    shown, _ = again.communicate(timeout=200)
    assert again.returncode == 0, shown
    assert f"12, {len(kept)} finished already and not run again" in " ".join(shown.split())
    assert len(list(runs.iterdir())) == 12
    for name, content in kept.items():
        assert (runs / name / "record.json").read_bytes() == content


def test_another_launcher_continues(bench: Bench, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run("both", seeds=(1,))
    folder = bench.run("both", launcher="ray", address=nodes.address)
    by_seed = {record.seed: record.launcher for record in records(folder).values()}
    assert by_seed == {1: "local", 2: "ray", 3: "ray"}


def start_driver(bench: Bench, nodes: Nodes, words: list[str]) -> "subprocess.Popen[str]":
    """The command line in a process of its own, on the demo's own tiny weights."""
    script = bench.folder / "drive.py"
    script.write_text(
        "import sys, pytest\n"
        "from pathlib import Path\n"
        "from tests.experiments.tiny import use_tiny_demo\n"
        "from headtohead.experiments import command_line\n"
        f"use_tiny_demo(pytest.MonkeyPatch(), Path({str(bench.folder / 'cache')!r}))\n"
        "sys.exit(command_line.main(sys.argv[1:]))\n"
    )
    root = Path(small.__file__).parents[1]
    argv = [
        *("--model", "demo", "--data", bench.settings["data"], "--strategies", ",".join(STRATEGIES)),
        *(
            "--plugin",
            str(bench.settings["plugin"][0]),
            "--seeds",
            "1,2,3",
            "--epochs",
            "30",
            "--name",
            "tiny",
        ),
        *("--device", "cpu", "--results-dir", str(bench.folder / "cluster"), *words),
    ]
    return subprocess.Popen(
        [sys.executable, str(script), *argv],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
