"""Runs done together have the numbers that each has alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headtohead import strategies
from headtohead.core.engine import Engine, EngineOptions, Job, Outcome, fit_group, groups, heads
from headtohead.core.errors import TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, Variant, unfreeze
from headtohead.core.training import Progress
from tests import small
from tests.core.engine.test_parity import CONFIG, assert_same_numbers

SEEDS = (123, 124, 125)


def make_engine(together: bool = True) -> Engine:
    return Engine(small.pretrained(), small.dataset(), CONFIG, EngineOptions(together=together))


def jobs_of(labels: list[str], folder: Path, seeds: tuple[int, ...] = SEEDS) -> list[Job]:
    variants = strategies.build_variants(labels)
    return [Job(variant, seed, folder / f"{variant.label}-{seed}") for variant in variants for seed in seeds]


def outcomes(engine: Engine, jobs: list[Job]) -> dict[tuple[str, int], Outcome | Exception]:
    done = {}
    for group in groups(engine, jobs):
        for job, outcome in fit_group(engine, group, lambda progress: None):
            done[job.variant.label, job.seed] = outcome
    return done


def test_jobs_are_grouped_by_what_they_share(tmp_path: Path) -> None:
    jobs = jobs_of(["head", "head@learning_rate=1e-2", "last_block", "lora"], tmp_path)
    sizes = [len(group) for group in groups(make_engine(), jobs)]
    assert sizes == [6, 3, 1, 1, 1]
    assert [len(group) for group in groups(make_engine(together=False), jobs)] == [1] * len(jobs)


@pytest.mark.parametrize("labels", [["head", "head@learning_rate=1e-2+weight_decay=0"], ["last_block"]])
def test_group_agrees_with_runs_alone(labels: list[str], tmp_path: Path) -> None:
    together = outcomes(make_engine(), jobs_of(labels, tmp_path / "together"))
    alone = outcomes(make_engine(together=False), jobs_of(labels, tmp_path / "alone"))
    assert together.keys() == alone.keys() and len(alone) == len(labels) * len(SEEDS)
    for key, outcome in together.items():
        expected = alone[key]
        assert isinstance(outcome, Outcome) and isinstance(expected, Outcome)
        assert_same_numbers(outcome, expected)
        assert outcome.grouped and not expected.grouped


@dataclass(frozen=True, kw_only=True)
class Noisy(Strategy):
    """The last block, with a term of the loss that draws random numbers."""

    learning_rate: float = 1e-3

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.trf_blocks[-1])

    def extra_loss(self, model: GPTModel) -> Tensor:
        head = model.out_head.weight
        return 0.1 * (head * torch.randn_like(head)).sum()


class Jittered(nn.Module):
    """A layer of which a share is left out that is drawn anew for every batch."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.share = layer, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y * (1 - 0.1 * self.share * torch.rand(())) if self.training else y


@dataclass(frozen=True, kw_only=True)
class Jitter(Strategy):
    """A layer of the last block that draws a number at every step, the same under every plan."""

    learning_rate: float = 1e-3

    def apply(self, model: GPTModel) -> None:
        layers: Any = model.trf_blocks[-1]
        layers.ff.layers[0] = Jittered(layers.ff.layers[0])


@pytest.mark.parametrize("strategy", [Noisy(), Jitter()], ids=lambda strategy: type(strategy).__name__)
def test_seeds_that_draw_during_a_step_repeat_as_alone(strategy: Strategy, tmp_path: Path) -> None:
    variant = Variant("drawing", "drawing", strategy)
    jobs = [Job(variant, seed, tmp_path / str(seed)) for seed in SEEDS[:2]]
    done = outcomes(make_engine(), jobs)
    for (_, seed), outcome in done.items():
        alone = make_engine(together=False).fit(variant, seed, tmp_path / "alone")
        assert isinstance(outcome, Outcome) and not outcome.grouped and outcome.plan["cut"]
        assert outcome.history.rows == alone.history.rows
        assert outcome.test.logits.equal(alone.test.logits)


def test_head_that_diverges_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = heads._Heads._step

    def poison(self: heads._Heads, rows: Tensor) -> None:
        self.weights[1] = torch.nan
        step(self, rows)

    monkeypatch.setattr(heads._Heads, "_step", poison)
    done = outcomes(make_engine(), jobs_of(["head", "head@learning_rate=1e-2"], tmp_path, seeds=(123,)))
    assert isinstance(done["head", 123], Outcome)
    failed = done["head@learning_rate=1e-2", 123]
    assert isinstance(failed, TrainingError) and "step 0" in str(failed)


def test_interrupting_a_group_stops_its_threads(tmp_path: Path) -> None:
    engine, steps = make_engine(), 0

    def interrupt(progress: Progress) -> None:
        nonlocal steps
        steps += 1

    (group,) = groups(engine, jobs_of(["last_block"], tmp_path))
    for _ in fit_group(engine, group, interrupt):
        break  # the caller stops listening after the first run
    assert 0 < steps
