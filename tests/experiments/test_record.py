"""Records: written whole, read back the same, refused clearly when they are not ours."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from headtohead.core.errors import InputError
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.record import RunRecord, load_history, load_record, save_record
from tests.experiments.synthetic import FOUR, write_synthetic


def a_record(**changes: object) -> RunRecord:
    content = {"run_id": "head-s1", "strategy": "head", "label": "head", "seed": 1, "status": "ok", **changes}
    return RunRecord(**content)  # type: ignore[arg-type]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = a_record(
        test_accuracy=0.5, test_confusion=[[1, 2], [3, 4]], warnings=["a <b> | c"], grouped=True
    )
    save_record(tmp_path, record)
    assert load_record(tmp_path) == record


def test_numbers_that_are_not_finite_become_null(tmp_path: Path) -> None:
    save_record(
        tmp_path, a_record(test_loss=float("nan"), train_seconds=float("inf"), plan={"x": [float("-inf")]})
    )
    written = json.loads((tmp_path / "record.json").read_text(), parse_constant=pytest.fail)
    assert (written["test_loss"], written["train_seconds"], written["plan"]) == (None, None, {"x": [None]})


def test_numpy_scalars_and_paths_are_written_plainly(tmp_path: Path) -> None:
    save_record(
        tmp_path, a_record(test_loss=np.float32(0.5), steps=np.int64(3), train_config={"at": Path("x")})
    )
    loaded = load_record(tmp_path)
    assert (loaded.test_loss, loaded.steps, loaded.train_config) == (0.5, 3, {"at": "x"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"energy_joules": 3}, "energy_joules"),
        ({"schema_version": 99}, "schema version 99"),
        ({"run_id": ...}, "lacks run_id"),
    ],
)
def test_a_record_of_another_schema_is_refused(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = save_record(tmp_path, a_record())
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    with pytest.raises(InputError, match=said):
        load_record(tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", "\udcff"])
def test_what_is_no_record_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "record.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"record\.json"):
        load_record(tmp_path)


def test_missing_and_failed_runs_stay_visible(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "x", failed={("lora", 1): "boom"}, missing=[("head", 2)], seeds=(1, 2))
    experiment = load_experiment(tmp_path / "x")
    assert experiment.missing == {"head": (2,)}
    assert [record.run_id for record in experiment.records if not record.ok] == ["lora-s1"]
    assert len(experiment.records) == 2 * len(FOUR) - 1


def test_a_folder_without_an_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"experiment\.json does not exist"):
        load_experiment(tmp_path)


def test_a_history_keeps_what_was_not_measured_empty(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "x")
    history = load_history(tmp_path / "x" / "runs" / "head-s123")
    assert history is not None and history["train_loss"].isna().any() and history["train_loss"].notna().any()
    assert load_history(tmp_path) is None


def test_reading_records_needs_no_torch() -> None:
    code = "import sys; from headtohead.experiments import record, statistics, plots, report\n"
    subprocess.run([sys.executable, "-c", code + "assert 'torch' not in sys.modules"], check=True)
