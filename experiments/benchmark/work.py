"""What one run of the protocol consists of, and the messages on which its parts are measured.

Nothing is a constant here: the counts follow from the protocol's events over the data set's rows.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from headtohead.core.data import Dataset, Split
from headtohead.core.engine.sequences import distinct_sequences
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

T = TypeVar("T")


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


@dataclass(frozen=True)
class Sample:
    """Rows on which the parts of a run are measured; the same for every contender.

    Attributes:
        first_batches: the protocol's first batches, on which losses are compared.
        timed_batches: training batches whose time is taken, from short to long ones.
        evaluated: rows of train and of validation that are evaluated, at most ``evaluate_batches`` batches each.
    """

    first_batches: list[list[int]]
    timed_batches: list[list[int]]
    evaluated: dict[SplitName, list[int]]


def draw_events(dataset: Dataset, config: TrainConfig, seed: int) -> list[Event]:
    """The whole protocol of one seed."""
    torch.manual_seed(seed)
    return list(protocol(row_loaders(dataset, config.batch_size), config))


def count_work(dataset: Dataset, config: TrainConfig, seed: int) -> Work:
    """Count one run's parts by following its protocol."""
    start = time.perf_counter()
    events = draw_events(dataset, config, seed)
    seconds = time.perf_counter() - start
    batches = 0
    for event in events:
        if isinstance(event, Measure):
            batches += len(event.train) + len(event.validation)
        elif isinstance(event, Finish):
            batches += sum(len(part) for part in event.batches.values())
    steps = sum(isinstance(event, Step) for event in events)
    return Work(steps, batches, _distinct_evaluations(dataset, config, events), seconds)


def _distinct_evaluations(dataset: Dataset, config: TrainConfig, events: Sequence[Event]) -> int:
    """Sequences that are evaluated when logits are remembered until the next step."""
    of_row = distinct_sequences(dataset, config).of_row
    total, known = 0, set[int]()

    def look_up(split: SplitName, batches: Sequence[Tensor]) -> int:
        wanted = set(of_row[split][torch.cat(list(batches))].tolist())
        missing = wanted - known
        known.update(missing)
        return len(missing)

    for event in events:
        if isinstance(event, Step):
            known.clear()
        elif isinstance(event, Measure):
            total += look_up("train", event.train) + look_up("validation", event.validation)
        else:
            total += look_up("train", event.batches["train"]) + look_up(
                "validation", event.batches["validation"]
            )
            known.clear()  # test is evaluated by the reloaded classifier
            total += look_up("test", event.batches["test"])
    return total


def choose_sample(dataset: Dataset, config: TrainConfig, seed: int, first: int, timed: int) -> Sample:
    """Batches and rows of the protocol: the first ones for losses, and for times some of every length.

    Args:
        first: how many of the protocol's first batches.
        timed: how many batches, at even quantiles of their number of real tokens over the first epoch.
    """
    batches = [event.rows.tolist() for event in draw_events(dataset, config, seed) if isinstance(event, Step)]
    epoch = batches[: len(dataset.train) // config.batch_size]
    by_length = sorted(epoch, key=lambda rows: int(dataset.train.last_position[rows].sum()))
    evaluated: dict[SplitName, list[int]] = {}
    of_row, taken = distinct_sequences(dataset, config).of_row, set[int]()
    for split in ("train", "validation"):
        lengths, rows = getattr(dataset, split).last_position, []
        for row, number in enumerate(of_row[split].tolist()):
            if number not in taken:
                taken.add(number)
                rows.append(row)
        rows.sort(key=lambda row: int(lengths[row]))
        evaluated[split] = spread(rows, config.evaluate_batches * config.batch_size)
    return Sample(batches[:first], spread(by_length, timed), evaluated)


def spread(items: Sequence[T], count: int) -> list[T]:
    """``count`` items (or all) at even distances, half a distance from either end."""
    count = min(count, len(items))
    return [items[int((number + 0.5) * len(items) / count)] for number in range(count)]


def thin_out(dataset: Dataset, config: TrainConfig, sample: Sample, fraction: float) -> Dataset:
    """The same number of rows, but only a fraction of the distinct messages; sampled rows keep theirs.

    The other rows repeat the kept ones, so a run has the same steps while its frozen prefix is a sample.
    """
    kept = {name: set(sample.evaluated.get(name, ())) for name in SPLITS}
    kept["train"].update(row for batch in [*sample.first_batches, *sample.timed_batches] for row in batch)
    for name in SPLITS:
        rows = range(len(getattr(dataset, name)))
        kept[name].update(spread(rows, max(config.batch_size, round(fraction * len(rows)))))
    return replace(
        dataset,
        train=_repeat(dataset.train, sorted(kept["train"])),
        validation=_repeat(dataset.validation, sorted(kept["validation"])),
        test=_repeat(dataset.test, sorted(kept["test"])),
    )


def _repeat(split: Split, kept: list[int]) -> Split:
    source = torch.tensor(kept)[torch.arange(len(split)) % len(kept)]
    source[kept] = torch.tensor(kept)
    texts = tuple(split.texts[row] for row in source.tolist())
    return Split(texts, split.token_ids[source], split.last_position[source], split.labels[source])
