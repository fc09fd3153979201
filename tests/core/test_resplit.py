"""Other splits hold the same messages in the same numbers, and share what was computed of them."""

from collections import Counter
from pathlib import Path

import pytest
import torch

from headtohead import strategies
from headtohead.core.data import Dataset
from headtohead.core.engine import Engine, Part
from headtohead.core.other_splits import SHORT_TO_LONG, split_names
from headtohead.core.resplit import places, resplit
from headtohead.core.training import SPLITS
from tests import small
from tests.core.engine.test_parity import CONFIG
from tests.core.engine.test_seeds import make_engine


def messages(dataset: Dataset) -> Counter[str]:
    return Counter(text for split in SPLITS for text in getattr(dataset, split).texts)


@pytest.mark.parametrize("name", [*split_names(3), SHORT_TO_LONG])
def test_a_split_has_the_same_messages_and_sizes(name: str) -> None:
    dataset = small.dataset()
    other = resplit(dataset, places(dataset, name))
    assert messages(other) == messages(dataset)
    for split in SPLITS:
        assert len(getattr(other, split)) == len(getattr(dataset, split))
        assert getattr(other, split).texts != getattr(dataset, split).texts
    again = resplit(dataset, places(dataset, name))
    assert again.csv == other.csv and other.sha256 == dataset.sha256


def test_splits_differ() -> None:
    first, second = (places(small.dataset(), name)["test"].tolist() for name in split_names(3))
    assert set(first) != set(second)


def test_short_to_long_tests_on_the_longest_of_every_class() -> None:
    dataset = small.dataset()
    other = resplit(dataset, places(dataset, SHORT_TO_LONG))
    for label in (0, 1):
        trained = other.train.last_position[other.train.labels == label]
        tested = other.test.last_position[other.test.labels == label]
        assert trained.max() <= tested.min()
    shares = [float(split.labels.float().mean()) for split in (other.train, other.test)]
    assert shares[0] == pytest.approx(shares[1], abs=0.1)


def test_a_run_on_another_split_is_one_on_that_data_set(tmp_path: Path) -> None:
    (variant,) = strategies.build_variants(["last_block"])
    (name,) = split_names(2)
    engine, dataset = make_engine(), small.dataset()
    part = engine.of(Part(split=name)).fit(variant, 7, tmp_path / "part")
    other = resplit(dataset, places(dataset, name))
    alone = Engine(small.pretrained(), other, CONFIG).fit(variant, 7, tmp_path / "alone")
    assert part.test is not None and alone.test is not None
    assert torch.allclose(part.test.logits, alone.test.logits, atol=1e-4)
    assert torch.equal(part.test.labels, other.test.labels)
