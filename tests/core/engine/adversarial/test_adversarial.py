"""No strategy gets other numbers than by the reference path, whatever it does; those that are harmless keep a plan."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import torch

from headtohead.core.config import GPTConfig
from headtohead.core.data import Dataset, Split
from headtohead.core.engine import ALL, REFERENCE, Engine, EngineOptions, Outcome, meter
from headtohead.core.engine.plan import Plan
from headtohead.core.errors import InputError, TrainingError
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
    train, validation, test = (split(rows, generator) for rows in (28, 12, 12))
    return Dataset("random", "drawn", ("a", "b"), train, validation, test, LONGEST, "", {}, True, 0)


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # Collecting the garbage of all tests before each of a hundred runs would take most of the time.
    monkeypatch.setattr(meter, "_reset_peak_memory", lambda device: True)
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
    config = TrainConfig(epochs=2, batch_size=4, evaluate_every=2, evaluate_batches=2, position=position)
    engine = Engine(small.pretrained(CONFIG), dataset(), config, EngineOptions(allowed=allowed))
    outcome = engine.fit(Variant("case", case.__name__, case()), 123, folder / case.__name__)
    rows = outcome.history.rows
    losses = [loss for row in rows for loss in (row.train_loss, row.validation_loss) if loss is not None]
    return Run([*losses, outcome.train.loss, outcome.test.loss], outcome)


def compared(case: type[Strategy], position: Position, folder: Path) -> Outcome | None:
    """The outcome under a plan, after its losses were held against the reference path's.

    None where neither way leaves a classifier that can be loaded again, and both say so in the same words.
    """
    try:
        reference = run(case, REFERENCE, position, folder)
    except (InputError, TrainingError) as error:
        with pytest.raises(type(error), match=r"does not (reproduce|fit)"):
            run(case, ALL, position, folder)
        return None
    for restore in cases.RESTORE.values():
        restore()
    planned = run(case, ALL, position, folder)
    assert planned.losses == pytest.approx(reference.losses, rel=0, abs=1e-4)
    assert len(planned.losses) > 15
    return planned.outcome


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("case", cases.FOOLING, ids=lambda case: case.__name__)
def test_numbers_are_the_reference_paths(case: type[Strategy], position: Position, tmp_path: Path) -> None:
    outcome = compared(case, position, tmp_path)
    if outcome and not (outcome.plan["cut"] or outcome.plan["restructured"]):
        assert any(
            words.startswith(("reference path: ", "the model's own")) for words in outcome.plan["words"]
        )


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("case", cases.KEPT, ids=lambda case: case.__name__)
def test_harmless_strategies_keep_their_prefix(
    case: type[Strategy], position: Position, tmp_path: Path
) -> None:
    outcome = compared(case, position, tmp_path)
    assert outcome is not None
    assert outcome.plan["cut"] >= CONFIG.n_layers and outcome.plan["restructured"]


def test_there_are_enough_of_them() -> None:
    assert len(cases.FOOLING) >= 25
