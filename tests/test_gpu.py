"""What only a CUDA device can show: ``python -m pytest -m gpu`` on a machine that has one, about ten minutes.

None of this has run where this repository was made; what holds without a GPU is in tests/core/engine/test_devices.py
and test_stacked.py.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from headtohead import strategies
from headtohead.core.engine import Engine, EngineOptions, Job, Outcome, fit_group, groups, stacked
from headtohead.core.engine.plan import REFERENCE
from headtohead.core.engine.seeds import Way, way_of
from headtohead.experiments import runner
from headtohead.experiments.spec import Experiment
from tests import small, test_golden
from tests.core.engine.test_parity import CONFIG, LABELS, PLANS
from tests.experiments.tiny import use_tiny_demo, write_messages, write_plugin
from tests.paths import GOLDEN, SMS, WHY_SKIPPED

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]
DEVICE = "cuda"
TOLERANCE = 1e-3  # a GPU adds up in another order than the CPU of the traces
TAKES_ALL = '''
import torch
from headtohead.core.strategy import Strategy


class TakesAll(Strategy):
    """Asks for more memory than there is."""

    def apply(self, model):
        torch.empty(2**46, device="cuda")
'''


@pytest.fixture(autouse=True)
def full_precision() -> Any:
    """Products in float32, as the traces'."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def fit(label: str, options: EngineOptions, folder: Path, **config: Any) -> Outcome:
    (variant,) = strategies.build_variants([label])
    engine = Engine(small.pretrained(), small.dataset(), replace(CONFIG, **config), options)
    return engine.fit(variant, 123, folder / "classifier")


def assert_close(found: Outcome, expected: Outcome) -> None:
    for left, right in zip(found.history.rows, expected.history.rows, strict=True):
        for name in ("train_loss", "validation_loss"):
            assert getattr(left, name) == pytest.approx(getattr(right, name), abs=TOLERANCE), (
                left.step,
                name,
            )
    assert found.test is not None and expected.test is not None
    assert found.test.loss == pytest.approx(expected.test.loss, abs=TOLERANCE)


@pytest.mark.skipif(not (GOLDEN.is_file() and SMS.is_file()), reason=WHY_SKIPPED)
@pytest.mark.parametrize(("label", "name"), {**test_golden.QUICK, **test_golden.LONG}.items())
def test_the_books_traces(label: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test_golden, "LOSS_TOLERANCE", TOLERANCE)
    found = test_golden.compare({label: name}, tmp_path, tmp_path / "cache", DEVICE)
    test_golden.assert_agrees(found, label, test_golden.golden()["runs"][name])


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("label", LABELS)
def test_every_plan_agrees_with_the_cpu(
    label: str, plan: str, position: Literal["last", "last_real"], tmp_path: Path
) -> None:
    here = fit(label, EngineOptions(allowed=REFERENCE), tmp_path / "cpu", position=position)
    there = fit(label, EngineOptions(device=DEVICE, allowed=PLANS[plan]), tmp_path / "gpu", position=position)
    assert_close(there, here)


@pytest.mark.parametrize("label", ["last_block@learning_rate=1e-3", "lora@layers=2", "head"])
@pytest.mark.parametrize("room", [None, 2])
def test_seeds_together(
    label: str, room: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stacked, and in several stacks where memory holds only two runs at once."""
    if room is not None:
        monkeypatch.setattr(stacked, "_room", lambda device, trainable: room)
    (variant,) = strategies.build_variants([label])
    engine = Engine(small.pretrained(), small.dataset(), CONFIG, EngineOptions(device=DEVICE))
    assert way_of(engine, variant) in (Way.STACKED, Way.HEADS)
    jobs = [Job(variant, seed, tmp_path / str(seed)) for seed in (1, 2, 3, 4)]
    (group,) = groups(engine, jobs)
    for job, outcome in fit_group(engine, group, lambda progress: None):
        assert isinstance(outcome, Outcome), outcome
        alone = engine.fit(variant, job.seed, tmp_path / f"alone-{job.seed}")
        assert_close(outcome, alone)


def test_hidden_states_that_exceed_the_device_lie_on_the_cpu(tmp_path: Path) -> None:
    little = fit("last_block", EngineOptions(device=DEVICE, cache_budget=1), tmp_path / "a")
    assert any("memory-mapped" in sentence for sentence in little.plan["words"])
    assert_close(little, fit("last_block", EngineOptions(device=DEVICE), tmp_path / "b"))
    kept = EngineOptions(device=DEVICE, cache_dir=tmp_path / "cache")
    for folder in ("c", "d"):  # written, then read
        assert_close(fit("last_block", kept, tmp_path / folder), little)


def test_a_run_without_memory_takes_no_other_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.setattr("headtohead.experiments.report.draw_all", lambda summary: [])
    settings = {
        "strategies": ("takes_all", "head", "last_block"),
        "plugin": (write_plugin(tmp_path / "mine", "takes_all", TAKES_ALL),),
        "model": "demo",
        "data": str(write_messages(tmp_path / "messages.tsv")),
        "seeds": (1,),
        "epochs": 1,
        "device": DEVICE,
        "results_dir": tmp_path / "results",
    }
    summary = runner.compare(Experiment.of(settings))
    (failed,) = summary.failed
    assert failed.label == "takes_all" and "OutOfMemoryError" in (failed.error or "")
    assert sum(record.ok for record in summary.experiment.records) == 2


@pytest.mark.parametrize("label", ["last_block", "lora"])
def test_compiled_blocks(label: str, tmp_path: Path) -> None:
    plain = fit(label, EngineOptions(device=DEVICE), tmp_path / "a")
    assert_close(fit(label, EngineOptions(device=DEVICE, compile=True), tmp_path / "b"), plain)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_other_precisions_are_close(precision: str, tmp_path: Path) -> None:
    plain = fit("lora", EngineOptions(device=DEVICE), tmp_path / "a")
    rounded = fit("lora", EngineOptions(device=DEVICE, precision=precision), tmp_path / "b")
    for left, right in zip(rounded.history.rows, plain.history.rows, strict=True):
        assert left.train_loss == pytest.approx(right.train_loss, abs=0.1)
