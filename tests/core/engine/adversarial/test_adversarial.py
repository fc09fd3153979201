"""No strategy gets other numbers than by the reference path, whatever it does; those that are harmless keep a plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch

from headtohead.core.config import GPTConfig
from headtohead.core.data import Dataset, Split
from headtohead.core.engine import ALL, REFERENCE, Engine, EngineOptions, Outcome
from headtohead.core.engine.plan import Plan
from headtohead.core.errors import InputError
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import TrainConfig
from tests import small
from tests.core.engine.adversarial import strategies as cases

CONFIG = GPTConfig(vocab_size=211, context_length=16, emb_dim=cases.DIMS, n_layers=4, n_heads=4)
LONGEST = 12  # tokens
Position = Literal["last", "last_real"]


def split(rows: int, generator: torch.Generator) -> Split:
    token_ids = torch.randint(0, CONFIG.vocab_size, (rows, LONGEST), generator=generator)
    last = torch.randint(2, LONGEST, (rows,), generator=generator)
    last[:2] = torch.tensor([LONGEST - 1, 1])
    return Split(tuple(map(str, range(rows))), token_ids, last, torch.arange(rows) % 2)


def dataset() -> Dataset:
    generator = torch.Generator().manual_seed(3)
    parts = [split(rows, generator) for rows in (28, 12, 12)]
    return Dataset("random", "drawn", ("a", "b"), *parts, LONGEST, "", {}, True, 0)


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    for restore in cases.RESTORE.values():
        restore()


@dataclass(frozen=True)
class Run:
    """The losses of a run and how it was computed."""

    losses: list[float]
    outcome: Outcome


def run(case: type[Strategy], allowed: Plan, position: Position, folder: Path) -> Run:
    cases.WARMTH[0] = 0.0
    config = TrainConfig(epochs=3, batch_size=4, evaluate_every=2, evaluate_batches=2, position=position)
    engine = Engine(small.pretrained(CONFIG), dataset(), config, EngineOptions(allowed=allowed))
    outcome = engine.fit(Variant("case", case.__name__, case()), 123, folder / case.__name__)
    rows = outcome.history.rows
    losses = [loss for row in rows for loss in (row.train_loss, row.validation_loss) if loss is not None]
    return Run([*losses, outcome.train.loss, outcome.test.loss], outcome)


def compared(case: type[Strategy], position: Position, folder: Path) -> Outcome:
    """The outcome under a plan, after its losses were held against the reference path's."""
    reference = run(case, REFERENCE, position, folder)
    for restore in cases.RESTORE.values():
        restore()
    planned = run(case, ALL, position, folder)
    assert planned.losses == pytest.approx(reference.losses, rel=0, abs=1e-4)
    assert len(planned.losses) > 20
    return planned.outcome


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("case", cases.FOOLING, ids=lambda case: case.__name__)
def test_numbers_are_the_reference_paths(case: type[Strategy], position: Position, tmp_path: Path) -> None:
    outcome = compared(case, position, tmp_path)
    if not (outcome.plan["cut"] or outcome.plan["restructured"]):
        assert any(
            words.startswith(("reference path: ", "the model's own")) for words in outcome.plan["words"]
        )


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("case", cases.KEPT, ids=lambda case: case.__name__)
def test_harmless_strategies_keep_their_prefix(
    case: type[Strategy], position: Position, tmp_path: Path
) -> None:
    outcome = compared(case, position, tmp_path)
    assert outcome.plan["cut"] >= CONFIG.n_layers and outcome.plan["restructured"]


@pytest.mark.parametrize("allowed", [ALL, REFERENCE], ids=["plan", "reference"])
@pytest.mark.parametrize("case", cases.FAILING, ids=lambda case: case.__name__)
def test_what_cannot_be_reloaded_fails_with_a_sentence(
    case: type[Strategy], allowed: Plan, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not fit the classifier"):
        run(case, allowed, "last", tmp_path)


def test_there_are_enough_of_them() -> None:
    assert len(cases.FOOLING) >= 25
