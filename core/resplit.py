"""The same messages in other splits: random ones, and one from short messages to long ones.

The split that a data set comes with is one of many (Gorman and Bedrick 2019, We need to talk about standard splits).
Random ones flatter, because their test messages are like their training messages (Soegaard et al. 2021, We need to
talk about random splits): training on the shorter messages of every class and testing on its longest does not.
All splits have the same sizes and the same longest message in tokens, so that hidden states are shared.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from headtohead.core.data import Dataset, Split, count_seen
from headtohead.core.other_splits import RANDOM, SHORT_TO_LONG
from headtohead.core.splits import RANDOM_STATE
from headtohead.core.training import SPLITS, SplitName


def places(dataset: Dataset, name: str) -> dict[SplitName, Tensor]:
    """Which messages each split has under the name: numbers into train, validation and test one after the other."""
    sizes = [len(getattr(dataset, split)) for split in SPLITS]
    parts = _short_to_long(dataset, sizes)
    if name != SHORT_TO_LONG:
        number = int(re.fullmatch(rf"{RANDOM}-([0-9]+)", name)[1])  # type: ignore[index]  # made by split_names
        order = np.random.default_rng([RANDOM_STATE, number]).permutation(sum(sizes))
        parts = np.split(order, np.cumsum(sizes)[:-1])
    return {split: torch.as_tensor(part) for split, part in zip(SPLITS, parts, strict=True)}


def _short_to_long(dataset: Dataset, sizes: Sequence[int]) -> list[np.ndarray]:
    """The longest messages of every class are for the test; the others are shared out at random."""
    lengths = np.concatenate([getattr(dataset, split).last_position.numpy() for split in SPLITS])
    labels = np.concatenate([getattr(dataset, split).labels.numpy() for split in SPLITS])
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        ordered = rows[np.argsort(lengths[rows], kind="stable")]
        rank[ordered] = (np.arange(len(rows)) + 0.5) / len(rows)
    order = np.argsort(rank, kind="stable")
    shorter = np.random.default_rng(RANDOM_STATE).permutation(order[: sizes[0] + sizes[1]])
    return [shorter[: sizes[0]], shorter[sizes[0] :], order[sizes[0] + sizes[1] :]]


def resplit(dataset: Dataset, found: dict[SplitName, Tensor]) -> Dataset:
    """The data set with its messages in those places; its hash stays that of the messages as they came."""
    pools = [getattr(dataset, split) for split in SPLITS]
    texts = [text for pool in pools for text in pool.texts]
    token_ids, last_position, labels = (
        torch.cat([getattr(pool, name) for pool in pools])
        for name in ("token_ids", "last_position", "labels")
    )
    splits = {
        name: Split(
            tuple(texts[row] for row in rows.tolist()), token_ids[rows], last_position[rows], labels[rows]
        )
        for name, rows in found.items()
    }
    return replace(
        dataset,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        csv={name: _csv(split) for name, split in splits.items()},
        test_texts_seen_in_train=count_seen(splits["test"].texts, splits["train"].texts),
    )


def _csv(split: Split) -> bytes:
    table = pd.DataFrame({"Label": split.labels.tolist(), "Text": split.texts})
    return table.to_csv(index=False, lineterminator="\n").encode()
