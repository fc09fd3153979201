"""What happens is written down, followed from another terminal, and handed to TensorBoard and MLflow."""

import io
import json
from pathlib import Path

import filelock
import pytest
from rich.console import Console

import headtohead
from headtohead.core.errors import InputError
from headtohead.experiments import report, trackers
from headtohead.experiments.command_line import main
from headtohead.experiments.events import EVENTS_FILE, EventLog, read_events
from headtohead.experiments.follow import follow, picture, state_of
from headtohead.experiments.sparkline import sparkline
from headtohead.experiments.spec.output import OutputSettings
from headtohead.experiments.statistics import Summary
from headtohead.experiments.watch import Everyone, Watcher
from tests.experiments.tiny import FAILS, use_tiny_demo, write_messages, write_plugin


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """A head and a plugin that fails, with event files for TensorBoard."""
    pytest.importorskip("tensorboard")
    folder = tmp_path_factory.mktemp("events")
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_demo(patch, folder / "cache")
        patch.setattr(report, "write_report", lambda summary: {})
        return headtohead.compare(
            "head", model="demo", data=write_messages(folder / "m.tsv"), seeds=[1, 2], epochs=1, name="x",
            results_dir=folder / "results", plugin=[write_plugin(folder, "fails", FAILS)], tensorboard=True,
        )  # fmt: skip


def shown(state: object) -> str:
    console = Console(width=90, file=io.StringIO(), force_terminal=False)
    console.print(state)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_every_event_is_a_line(ran: Summary) -> None:
    path = ran.experiment.directory / EVENTS_FILE
    events = read_events(path)
    assert len(events) == len(path.read_text().splitlines())
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["planned", "launching"] and kinds[-1] == "reported"
    assert kinds.count("finished") == 4 and "step" in kinds
    finished = [event for event in events if event["event"] == "finished"]
    assert {(event["label"], event["status"]) for event in finished} == {("head", "ok"), ("fails", "failed")}
    for event in finished:
        (record,) = [each for each in ran.experiment.records if each.run_id == event["run_id"]]
        assert event["test_accuracy"] == record.test_accuracy


def test_it_is_followed_from_its_events(ran: Summary, capsys: pytest.CaptureFixture[str]) -> None:
    directory = ran.experiment.directory
    assert main(["--watch", "x", "--results-dir", str(directory.parent)]) == 0
    said = capsys.readouterr().out
    assert "head, seed 1" in said and "this strategy always fails" in said and "4 of 4 runs" in said
    assert "Finished: the highest test accuracy has head." in said
    assert main(["--watch", "gone", "--results-dir", str(directory.parent)]) == 2


def test_the_running_one_shows_its_loss_and_the_time_left(tmp_path: Path) -> None:
    events = [
        {"event": "planned", "command": "an old one", "runs": ["x"]},
        {"event": "planned", "command": "run", "runs": ["head, seed 1", "lora, seed 1"]},
        {"event": "finished", "label": "head", "seed": 1, "status": "ok", "test_accuracy": 0.953, "total_seconds": 4.0},
        {"event": "began", "titles": ["lora, seed 1"]},
        *({"event": "step", "phase": "training", "step": n, "of": 100, "loss": 1 / n, "left_seconds": 600.0,
           "current_left_seconds": 120.0} for n in range(1, 40)),
    ]  # fmt: skip
    (tmp_path / EVENTS_FILE).write_text(
        "".join(json.dumps(event) + "\n" for event in events) + '{"event": "st'
    )
    with filelock.FileLock(tmp_path / ".lock"):  # its process lives
        console = Console(file=io.StringIO(), width=90)
        state = follow(tmp_path, console)
    said = shown(picture(state))
    assert (
        "95.3" in said and "lora, seed 1  training 39/100  loss 0.026 █" in said and "an old one" not in said
    )
    assert "about 2 min left" in said and "1 of 2 runs, about 10 min left" in said
    assert "Not running" in shown(picture(follow(tmp_path, Console(file=io.StringIO()))))
    with pytest.raises(InputError, match="does not exist"):
        follow(tmp_path / "nowhere", console)


def test_every_shard_of_a_folder_is_shown(tmp_path: Path) -> None:
    whole = EventLog(tmp_path)
    whole.began(["an older command, seed 1"])
    for part in (1, 2):
        log = EventLog(tmp_path, (part, 2))
        log._write("planned", command=f"run --shard {part}/2", runs=["a", "b"])
        log.began([f"lora, seed {part}"])
        log._write("finished", label="head", seed=part, status="ok", test_accuracy=0.9 + part / 100)
    with filelock.FileLock(tmp_path / ".lock-1-of-2"):
        states = follow(tmp_path, Console(file=io.StringIO(), width=90))
    said = shown(picture(states))
    assert [(state.shard, bool(state.ended)) for state in states] == [("1/2", False), ("2/2", True)]
    assert "head, seed 1" in said and "91.0" in said and "head, seed 2" in said and "92.0" in said
    assert "lora, seed 1" in said and "lora, seed 2" not in said and "older" not in said
    assert "shard 1/2: 1 of 2 runs" in said and "shard 2/2: 1 of 2 runs" in said and "Not running" in said
    whole._write("planned", command="run all", runs=[])
    assert [state.shard for state in state_of(read_events(whole.path))] == [""]


def test_what_runs_on_a_cluster_is_shown_with_its_node(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log._write("planned", command="run", runs=["a"] * 3)
    log.placed(["head, seed 1", "lora, seed 1, 16 messages", "ia3, seed 1"], "node 7")
    log._write("finished", title="lora, seed 1, 16 messages", label="lora", seed=1, status="ok")
    log.lost(["ia3, seed 1"], "it died")
    said = shown(picture(state_of(read_events(log.path))))
    assert "head, seed 1 on node 7" in said and "16 messages" not in said and "ia3" not in said


def test_text_in_events_does_no_harm() -> None:
    state = state_of([
        {"event": "planned", "command": "x\x1b[31m[bold]", "runs": []},
        {"event": "finished", "label": "[red]a\x1b[2J", "seed": 1, "status": "failed", "error": "[link=x]\x07"},
    ])  # fmt: skip
    said = shown(picture(state))
    assert "\x1b" not in said and "\x07" not in said and "[red]a" in said and "[link=x]" in said


def test_half_a_line_ends_nothing(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    log.began(["a, seed 1"])
    with log.path.open("a") as file:
        file.write('{"event": "fini')
    log.interrupted(0, 1)
    assert [event["event"] for event in read_events(log.path)] == ["began", "interrupted"]


def test_everyone_hears_everything() -> None:
    class Counts(Watcher):
        def __init__(self) -> None:
            self.heard: list[object] = []

        def began(self, titles: object) -> None:
            self.heard.append(titles)

        def interrupted(self, kept: int, of: int) -> None:
            self.heard.append((kept, of))

    both = Counts(), Counts()
    everyone = Everyone(both)
    everyone.began(["a"])
    everyone.interrupted(1, 2)
    assert both[0].heard == both[1].heard == [["a"], (1, 2)]
    assert {name for name in vars(Watcher) if not name.startswith("_")} <= set(vars(Everyone))


def test_sparklines() -> None:
    assert sparkline([3, 2, 1]) == "█▅▁" and sparkline([1, 1]) == "▁▁"
    assert len(sparkline(range(1000))) == 16 and sparkline([1]) == sparkline([]) == ""
    assert sparkline([1, float("inf"), float("nan"), 2]) == "▁█"


def test_tensorboard_gets_every_run_under_its_name(ran: Summary) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = ran.experiment.directory / "tensorboard"
    assert {path.name for path in folder.iterdir()} == {each.run_id for each in ran.experiment.records}
    (record, *_) = ran.experiment.records
    read = EventAccumulator(str(folder / record.run_id))
    read.Reload()
    (final,) = read.Scalars("final/test_accuracy")
    assert final.value == pytest.approx(record.test_accuracy)
    expected = [
        value for name, _, value in trackers._series(ran.experiment.directory, record) if name == "loss/train"
    ]
    assert [each.value for each in read.Scalars("loss/train")] == pytest.approx(expected) and expected


@pytest.mark.slow
def test_mlflow_gets_every_run_once_under_its_name(ran: Summary) -> None:
    pytest.importorskip("mlflow")
    log = trackers.MLflow(ran.experiment.directory)
    log.reported(ran, {}, None)
    log.reported(ran, {}, None)
    runs = log.client.search_runs([log.experiment])
    assert sorted(run.info.run_name for run in runs) == sorted(each.run_id for each in ran.experiment.records)
    by_id = {each.run_id: each for each in ran.experiment.records}
    for run in runs:
        record = by_id[run.info.run_name]
        assert run.data.metrics.get("test_accuracy") == record.test_accuracy
        assert run.data.params["seed"] == str(record.seed)
        assert run.info.status == ("FINISHED" if record.ok else "FAILED")


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_tracker_that_is_not_installed_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=rf"--{name} needs the package {name}.*headtohead\[{name}\]"):
        trackers.check_trackers(OutputSettings(**{name: True}))  # type: ignore[arg-type]
