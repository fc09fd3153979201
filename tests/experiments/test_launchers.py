"""What a cluster needs without a cluster: work described by values, room checked, shards merged."""

import dataclasses
import importlib.util
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from headtohead.core.engine import Engine, EngineOptions
from headtohead.core.errors import InputError
from headtohead.core.training import TrainConfig
from headtohead.experiments import runner
from headtohead.experiments.agenda import plan
from headtohead.experiments.cluster_progress import ClusterProgress
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.launchers import remote
from headtohead.experiments.launchers.parcel import pack_engine, pack_run, pack_weights, unpack_folder
from headtohead.experiments.launchers.ray import Node, RayLauncher, _Flight, check_room, first_words, slots
from headtohead.experiments.live import Live
from headtohead.experiments.progress import Work
from headtohead.experiments.record import load_record, save_record
from headtohead.experiments.runs import Run
from headtohead.experiments.sections import all_sections
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.machine import LaunchSettings
from headtohead.experiments.statistics import summarise
from headtohead.experiments.watch import Watcher
from headtohead.strategies import build_variants
from tests import small
from tests.experiments.synthetic import FOUR, write_synthetic
from tests.experiments.tiny import BIASES, use_tiny_demo, write_messages, write_plugin

FACTS = {"model": "tiny", "dataset": "small", "train_config": {"epochs": 1}, "launcher": "ray"}


@pytest.fixture
def engine() -> Engine:
    return Engine(small.pretrained(), small.dataset(), TrainConfig(epochs=1), EngineOptions())


def runs_of(labels: list[str], plugins: tuple[Path, ...] = ()) -> list[Run]:
    return [Run(variant, 7, f"{variant.name}-run") for variant in build_variants(labels, (), plugins)]


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(is_plain(each) for each in value.values())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return type(value).__name__ in ("str", "int", "float", "bool", "NoneType", "ndarray", "bytes")


def test_a_worker_gets_values_alone_and_computes_the_same(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = write_plugin(tmp_path / "mine", "biases", BIASES)
    runs = runs_of(["head", "biases"], (plugin,))
    expected = [engine.fit(run.variant, run.seed, tmp_path / run.run_id) for run in runs]
    parcel, weights = pack_engine(engine, engine.options), pack_weights(engine.pretrained)
    described = [pack_run(run, 1) for run in runs]
    assert is_plain(parcel) and is_plain(weights) and is_plain(described)
    plugin.unlink()  # its text travels
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "node"))
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(remote, "_engines", {})
    cut = engine.pretrained.config.n_layers + 2
    hidden = engine.hidden_states(cut, lambda progress: None).hidden.numpy()
    job: dict[str, Any] = {"prefix": {cut: {"hidden": hidden, "seconds": 0.1, "words": "shared"}}}
    job |= {"key": "k", "cpus": 1, "parcel": parcel, "weights": weights, "facts": FACTS}
    for run, about, outcome in zip(runs, described, expected, strict=True):
        first, said, last = remote.do_group(job | {"runs": [about]}, lambda reference: reference, "node 1")
        assert first["began"] == "node 1" and last == {"passed": 0}
        unpack_folder(said["files"], tmp_path / "back" / run.run_id)
        record = load_record(tmp_path / "back" / run.run_id)
        assert (record.test_loss, record.test_accuracy) == (outcome.test.loss, outcome.test.accuracy)
        assert record.retries == 1 and record.environment["node"] == "node 1"
        assert record.code_hash is not None
    assert list((tmp_path / "empty").iterdir()) == []
    assert len(list((tmp_path / "node" / "cluster").glob("*.safetensors"))) == 1


def test_parts_of_the_prefix_are_the_whole_to_the_last_bit(engine: Engine) -> None:
    model = engine.pretrained.build()
    cuts = [2, engine.pretrained.config.n_layers + 2]
    for variant in build_variants(["head", "last_block"]):
        engine.inspect(variant)
    other = Engine(engine.pretrained, engine.dataset, engine.config, engine.options)

    def elsewhere(wanted: dict[int, torch.Tensor], chunks: list[torch.Tensor], on_progress: Any) -> None:
        for number in range(2):
            own = chunks[number::2]
            for cut, hidden in engine.prefix.part(list(wanted), own, model).items():
                wanted[cut][other.prefix.rows_of(cut, own)] = hidden

    other.prefix.elsewhere = elsewhere
    for cut in cuts:
        whole = engine.hidden_states(cut, lambda progress: None).hidden
        assert torch.equal(other.hidden_states(cut, lambda progress: None).hidden, whole)
    assert other.prefix.passed == 0 and engine.prefix.passed > 0


def test_another_torch_on_a_node_is_refused(engine: Engine) -> None:
    from headtohead.experiments.launchers.parcel import check_same_code

    parcel = pack_engine(engine, engine.options)
    check_same_code(parcel, "n1")
    with pytest.raises(InputError, match=r"the node n1 has another torch \(.* instead of 1\.0\)"):
        check_same_code({**parcel, "torch": "1.0"}, "n1")
    with pytest.raises(InputError, match="the node n1 has another headtohead"):
        check_same_code({**parcel, "package": "0" * 64}, "n1")


def test_room_is_checked_before_ray_would_wait() -> None:
    nodes = [Node("a", 4, 0), Node("b", 8, 1)]
    assert slots(nodes, 2, 0) == 6 and slots(nodes, 2, 0.5) == 2
    with pytest.raises(InputError, match=r"--gpus-per-run 2 \(the largest node has 1 GPUs\)"):
        check_room(nodes, 1, 2)
    with pytest.raises(InputError, match=r"--cpus-per-run 16 \(the largest node has 8 cores\)"):
        check_room(nodes, 16, 0)


def test_ray_absent_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    with pytest.raises(InputError, match=r"needs Ray, which is not installed; .*pip install 'ray>="):
        plan(Experiment.of({"model": "demo", "data": "demo", "launcher": "ray"}))


class FakeRay:
    """A Ray whose every worker dies after the first run of its group."""

    class exceptions:
        class RayError(Exception): ...

        class RayTaskError(RayError): ...

    def wait(self, streams: list[Any], **options: Any) -> tuple[list[Any], list[Any]]:
        return streams[:1], streams[1:]

    def get(self, said: Any) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    def cancel(self, stream: Any, force: bool) -> None: ...


def test_a_run_begins_again_as_often_as_allowed(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = LaunchSettings(launcher="ray", retries=1)
    launcher = RayLauncher(engine, engine.options, tmp_path, dict(FACTS), settings)
    runs = runs_of(["head", "last_block", "lora"])
    begun: list[list[tuple[str, int]]] = []

    class Stream:
        def __init__(self, said: list[Any]) -> None:
            self.said = iter(said)

        def __next__(self) -> Any:
            return next(self.said)

    def start(ray: Any, work: Any, attempts: Any) -> Any:
        begun.append([(run_id, each.retries) for run_id, each in attempts.items()])
        one = next(iter(attempts))
        death = FakeRay.exceptions.RayError("\x1b[33m(raylet)\x1b[0m A worker died. To troubleshoot ...")
        return Stream([{"began": "n", "pid": 1}, {"run_id": one, "files": {}}, death])

    monkeypatch.setattr(launcher, "start", start)
    lost: list[Any] = []
    watch = SimpleNamespace(placed=lambda *_: None, lost=lambda titles, why: lost.append((titles, why)))
    done = [(run.run_id, path) for run, path in _Flight(launcher, FakeRay(), {}, watch).fly([runs])]  # type: ignore[arg-type]
    assert begun == [[(run.run_id, 0) for run in runs], [(run.run_id, 1) for run in runs[1:]]]
    assert lost == [(["last_block, seed 7", "lora, seed 7"], "A worker died")]
    assert [run_id for run_id, _ in done] == [run.run_id for run in runs]
    record = load_record(done[-1][1])
    assert record.status == "failed" and record.retries == 1
    assert record.error == "TrainingError: its worker or node died 2 times, the last time: A worker died"
    assert first_words(ValueError("")) == "ValueError"


def test_the_terminal_shows_where_runs_are() -> None:
    console = Console(file=io.StringIO(), width=100)
    progress = ClusterProgress(
        console, {"head, seed 1": Work("h", 1.0), "lora, seed 1": Work("l", 9.0)}, ["head", "lora"]
    )
    progress.placed(["lora, seed 1"], "node[red] 2")
    console.print(progress)
    progress.lost(["lora, seed 1"], "A worker died")
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "lora, seed 1: on node[red] 2" in shown and "0 of 2 runs" in shown
    assert "lora, seed 1 will begin again: A worker died" in shown
    assert not progress.running


def test_the_report_says_what_began_again_and_what_a_precision_costs(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path, FOUR[:1])
    paths = sorted((folder / "runs").iterdir())
    first = load_record(paths[0])
    save_record(paths[0], dataclasses.replace(first, retries=2, environment={"node": "n1"}))
    wrong = [1 - (first.test_predictions or [])[0], *(first.test_predictions or [])[1:]]
    other = dataclasses.replace(
        first, run_id="rounded", precision="bf16", test_predictions=wrong, test_accuracy=0.5
    )
    save_record(folder / "runs" / "rounded", other)
    save_record(paths[0], dataclasses.replace(load_record(paths[0]), precision="fp32"))
    sections = {each.key: each for each in all_sections(summarise(load_experiment(folder)))}
    assert sections["retried"].tables[0].rows == ((f"{first.label}, seed {first.seed}", "n1", "2"),)
    ((run, precision, same, _, accuracy, *_),) = sections["precision"].tables[0].rows
    assert (run, precision, accuracy) == (f"{first.label}, seed {first.seed}", "bf16", "50.00")
    assert same == f"{len(wrong) - 1} of {len(wrong)}"


# --- shards ----------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("headtohead.experiments.report.draw_all", lambda summary: [])
    return {
        "strategies": ("head", "majority"),
        "model": "demo",
        "data": str(write_messages(tmp_path / "messages.tsv")),
        "seeds": (1, 2),
        "epochs": 1,
        "device": "cpu",
        "name": "tiny",
    }


def test_shards_are_merged_into_one_experiment(settings: dict[str, Any], tmp_path: Path) -> None:
    def run(results: str, watch: Watcher | None = None, **changes: Any) -> Path:
        given = {**settings, "results_dir": tmp_path / results, **changes}
        runner.compare(Experiment.of(given, f"run --shard {changes.get('shard')} --x"), watch)
        return tmp_path / results / "tiny"

    whole = run("whole")
    console = Console(file=io.StringIO(), width=200)
    parts = [run("a", Live(console), shard="1/2"), run("b", shard="2/2")]
    assert "in other shards" in console.file.getvalue()  # type: ignore[attr-defined]
    ids = [{path.name for path in (part / "runs").iterdir()} for part in parts]
    assert all(ids) and not ids[0] & ids[1]
    together = run("both", shard="1/2") and run("both", shard="2/2")  # one folder for both
    assert {path.name for path in (together / "runs").iterdir()} == ids[0] | ids[1]

    for _ in range(2):  # merging again changes nothing
        summary = runner.merge(parts, tmp_path / "merged", None)
        merged = tmp_path / "merged" / "tiny"
        state = {path: path.stat().st_mtime_ns for path in merged.glob("runs/*/record.json")}
        assert {path.parent.name for path in state} == {path.name for path in (whole / "runs").iterdir()}
        assert not summary.experiment.missing and len(summary.experiment.records) == 4
    runner.merge([*parts, merged], tmp_path / "merged", None)
    assert {path: path.stat().st_mtime_ns for path in state} == state
    about = json.loads((merged / "experiment.json").read_text())
    assert about["command"] == "run --x" and about["seeds"] == [1, 2]
    ours = {record.run_id: record.test_loss for record in summary.experiment.records}
    assert ours == {path.name: load_record(path).test_loss for path in (whole / "runs").iterdir()}


@pytest.mark.slow
def test_only_folders_of_one_model_and_data_are_merged(settings: dict[str, Any], tmp_path: Path) -> None:
    folders = []
    for name, rows in (("a", 20), ("b", 24)):
        data = write_messages(tmp_path / f"{name}.tsv", rows)
        given = {**settings, "strategies": ("majority",), "data": str(data), "results_dir": tmp_path / name}
        runner.compare(Experiment.of(given))
        folders.append(tmp_path / name / "tiny")
    with pytest.raises(InputError, match=r"holds runs on the dataset .* merge folders of one model"):
        runner.merge(folders, tmp_path / "merged", None)
    assert not (tmp_path / "merged").exists()


def test_a_failed_run_gives_way_to_a_finished_one(settings: dict[str, Any], tmp_path: Path) -> None:
    given = {**settings, "strategies": ("majority",), "seeds": (1,)}
    for results in ("a", "b"):
        runner.compare(Experiment.of({**given, "results_dir": tmp_path / results}))
    (path,) = (tmp_path / "a" / "tiny" / "runs").iterdir()
    failed = dataclasses.replace(load_record(path), status="failed", error="gone")
    (path / "record.json").write_text(json.dumps(dataclasses.asdict(failed)))
    runner.merge([tmp_path / "a" / "tiny", tmp_path / "b" / "tiny"], tmp_path / "merged", None)
    assert load_record(tmp_path / "merged" / "tiny" / "runs" / path.name).ok
