"""What is measured on: weights, messages, what one run of the protocol consists of, and a sample of it.

Nothing is a constant here: the counts follow from the protocol's events over the data set's rows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, DEMO_MODEL
from headtohead.core.data import Dataset, Split, load_dataset
from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.errors import Unavailable
from headtohead.core.training import (
    SPLITS,
    Event,
    Finish,
    Measure,
    SplitName,
    Step,
    TrainConfig,
    protocol,
    row_loaders,
)
from headtohead.core.weights import Pretrained, find_pretrained
from headtohead.core.weights.pretrained import tensors_sha256
from headtohead.core.weights.random import random_tensors

T = TypeVar("T")


def find_weights(weights_dir: Path | None, quick: bool, folder: Path) -> Pretrained:
    """OpenAI's checkpoint where a folder is named, else the demo model, or random weights of 124M's shape.

    The random ones lie in a file, so that building a model takes no longer than it does with real ones.

    Raises:
        InputError: a folder without a whole checkpoint.
    """
    if weights_dir is not None or quick:
        model = None if weights_dir is not None else DEMO_MODEL
        return find_pretrained(model, weights_dir, download=False)
    config, path = CONFIGS[DEFAULT_MODEL], folder / "random.safetensors"
    tensors = random_tensors(config, seed=0, spread=0.02)
    save_file(tensors, path)
    source = f"random weights of {DEFAULT_MODEL}'s shape"
    return Pretrained(DEFAULT_MODEL, config, tensors_sha256(tensors), source, partial(load_file, path))


def find_messages(wanted: str | None, pretrained: Pretrained) -> Dataset:
    """The messages that are asked for; by default the SMS Spam Collection if it is in the cache, else the demo's."""
    length = pretrained.config.context_length
    try:
        return load_dataset(wanted, context_length=length, download=False)
    except Unavailable:
        if wanted is not None:
            raise
        return load_dataset("demo", context_length=length)


# --- what one run consists of ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """The parts of one run.

    Attributes:
        steps: training steps.
        evaluation_batches: forward-only batches, as the book's loop does them.
        evaluation_rows: messages that the engine evaluates, each distinct one once between two steps.
        loop_seconds: drawing the rows of all these batches from DataLoaders, without computing anything.
    """

    steps: int
    evaluation_batches: int
    evaluation_rows: int
    loop_seconds: float


def draw_events(dataset: Dataset, config: TrainConfig, seed: int) -> list[Event]:
    """The whole protocol of one seed."""
    torch.manual_seed(seed)
    return list(protocol(row_loaders(dataset, config.batch_size), config))


def count_work(dataset: Dataset, config: TrainConfig, seed: int) -> Work:
    """Count one run's parts by following its protocol."""
    start = time.perf_counter()
    events = draw_events(dataset, config, seed)
    loop_seconds = time.perf_counter() - start
    of_row = distinct_sequences(dataset, config).of_row
    steps, batches, rows, known = 0, 0, 0, set[int]()
    for event in events:
        if isinstance(event, Step):
            steps += 1
            known.clear()
            continue
        parts = event.batches if isinstance(event, Finish) else _parts(event)
        for split, evaluated in parts.items():
            if split == "test":  # is evaluated by the reloaded classifier
                known.clear()
            numbers = set(of_row[split][torch.cat(evaluated)].tolist())
            batches += len(evaluated)
            rows += len(numbers - known)
            known |= numbers
    return Work(steps, batches, rows, loop_seconds)


def _parts(event: Measure) -> dict[SplitName, list[Tensor]]:
    return {"train": event.train, "validation": event.validation}


@dataclass(frozen=True)
class Sample:
    """Rows on which the parts of a run are measured; the same for every contender.

    Attributes:
        batches: of training, on which losses are compared: one of middle length whose time is not taken, then
            some from short to long ones.
        evaluated: as many rows of train and of validation as an evaluation of the protocol takes, all distinct.
    """

    batches: list[list[int]]
    evaluated: dict[SplitName, list[int]]


def choose_sample(dataset: Dataset, config: TrainConfig, seed: int, steps: int) -> Sample:
    """``steps`` batches of the first epoch, at even quantiles of their number of real tokens, and rows likewise."""
    events = draw_events(dataset, replace(config, epochs=1), seed)
    batches = [event.rows.tolist() for event in events if isinstance(event, Step)]
    batches.sort(key=lambda rows: int(dataset.train.last_position[rows].sum()))
    of_row, split_at = distinct_sequences(dataset, config).of_row, len(dataset.train)
    numbers = torch.cat([of_row["train"], of_row["validation"]]).numpy()
    first = np.unique(numbers, return_index=True)[1]  # the first row of every distinct sequence
    rows = {"train": first[first < split_at], "validation": first[first >= split_at] - split_at}
    evaluated: dict[SplitName, list[int]] = {}
    for name in ("train", "validation"):
        lengths = getattr(dataset, name).last_position
        by_length = sorted(rows[name].tolist(), key=lambda row: int(lengths[row]))
        evaluated[name] = spread(by_length, config.evaluate_batches * config.batch_size)
    return Sample(spread(batches, 1) + spread(batches, steps), evaluated)


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` items (or all) at even distances, half a distance from either end."""
    count = min(count, len(items))
    return [items[int((number + 0.5) * len(items) / count)] for number in range(count)]


def thin_out(dataset: Dataset, sample: Sample, fraction: float) -> Dataset:
    """The same number of rows, but only a fraction of the messages; sampled rows keep theirs.

    The other rows repeat the kept ones, so a run has the same steps while its frozen prefix is a sample.
    """
    kept: dict[SplitName, set[int]] = {name: set(sample.evaluated.get(name, [])) for name in SPLITS}
    kept["train"].update(row for batch in sample.batches for row in batch)
    splits: dict[SplitName, Split] = {name: getattr(dataset, name) for name in SPLITS}
    for name, split in splits.items():
        kept[name].update(spread(range(len(split)), round(fraction * len(split)) or 1))
        splits[name] = _repeat(split, sorted(kept[name]))
    return replace(dataset, train=splits["train"], validation=splits["validation"], test=splits["test"])


def _repeat(split: Split, kept: list[int]) -> Split:
    source = np.resize(kept, len(split))
    source[kept] = kept
    texts = tuple(split.texts[row] for row in source)
    return Split(texts, split.token_ids[source], split.last_position[source], split.labels[source])
