"""The protocol draws what the book draws, and a loss that is not finite stops the run at its step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from headtohead import strategies
from headtohead.core.engine import Engine
from headtohead.core.errors import InputError, TrainingError
from headtohead.core.training import Finish, Measure, Step, TrainConfig, protocol, row_loaders
from tests import small

CONFIG = TrainConfig(epochs=2, evaluate_every=3, evaluate_batches=2)


def book_rows(seed: int) -> list[list[int]]:
    """The training rows of the book's loop, which iterates loaders over the data and breaks out of them."""
    data = small.dataset()
    torch.manual_seed(seed)
    train = DataLoader(
        TensorDataset(torch.arange(len(data.train))), batch_size=8, shuffle=True, drop_last=True
    )
    validation = DataLoader(TensorDataset(torch.arange(len(data.validation))), batch_size=8)
    seen, step = [], -1
    for _ in range(CONFIG.epochs):
        for (rows,) in train:
            step += 1
            seen.append(rows.tolist())
            if step % CONFIG.evaluate_every == 0:
                _look(train, seen)
                _look(validation, seen)
        _look(train, seen)
        _look(validation, seen)
    return seen


def _look(loader: DataLoader[tuple[torch.Tensor, ...]], seen: list[list[int]]) -> None:
    for number, (rows,) in enumerate(loader):
        if number >= CONFIG.evaluate_batches:
            break
        seen.append(rows.tolist())


def test_rows_come_in_the_books_order() -> None:
    torch.manual_seed(7)
    found = []
    for event in protocol(row_loaders(small.dataset(), 8), CONFIG):
        if isinstance(event, Step):
            found.append(event.rows.tolist())
        elif isinstance(event, Measure):
            found += [rows.tolist() for rows in [*event.train, *event.validation]]
        else:
            assert isinstance(event, Finish)
            assert [len(event.batches[name]) for name in ("train", "validation", "test")] == [7, 2, 3]
    assert found == book_rows(7)


def test_batch_larger_than_the_training_split() -> None:
    with pytest.raises(InputError, match="--batch-size 1000: the training split has 57 rows"):
        row_loaders(small.dataset(), 1000)


def test_config_checks_its_values() -> None:
    with pytest.raises(InputError, match="--epochs 0: must be 1 or more"):
        TrainConfig(epochs=0)


@pytest.mark.parametrize("label", ["head", "last_block", "all_layers"])
def test_loss_that_is_not_finite_names_its_step(label: str, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants([label])
    too_fast = type("TooFast", (type(variant.strategy),), {"learning_rate_of": lambda *arguments: 1e38})
    variant = replace(variant, strategy=too_fast())
    engine = Engine(small.pretrained(), small.dataset(), CONFIG)
    with pytest.raises(TrainingError, match=r"the training loss became (inf|nan) at step \d+"):
        engine.fit(variant, 123, tmp_path / "classifier")
    assert not (tmp_path / "classifier").exists()
