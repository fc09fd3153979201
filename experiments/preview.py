"""What ``--input-preview`` shows: columns found, classes, lengths and ten tokenised messages, without training."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from headtohead.core.tokenizer import GPT2
from headtohead.experiments.about_data import class_words, duplicate_words, length_words
from headtohead.experiments.inputs import Inputs
from headtohead.experiments.tables import visible

if TYPE_CHECKING:
    from headtohead.core.data import Dataset

MESSAGES = 10
TOKENS = 24  # of a message, the rest is counted


def print_preview(console: Console, inputs: Inputs) -> None:
    """Everything that is known about the messages before a model sees them."""
    for line in preview_lines(inputs):
        console.print(Text(visible(line)), soft_wrap=True)


def preview_lines(inputs: Inputs) -> Iterator[str]:
    """The same, line by line."""
    dataset = inputs.dataset
    about = dataset.preparation
    assert about is not None
    sizes = " / ".join(f"{len(getattr(dataset, name)):,}" for name in ("train", "validation", "test"))
    yield f"data: {dataset.name} ({dataset.source})"
    yield f"understood as: {about.how or 'the collection itself'}"
    yield f"splits: {sizes} messages to train / validate / test"
    yield from class_words(about, dataset.label_names)
    yield from duplicate_words(about)
    yield from length_words(about, dataset.max_length)
    yield f"the first {min(MESSAGES, len(dataset.train))} training messages, token by token:"
    yield from _messages(inputs, dataset)


def _messages(inputs: Inputs, dataset: "Dataset") -> Iterator[str]:
    tokenizer, split = inputs.pretrained.tokenizer or GPT2, dataset.train
    for row in range(min(MESSAGES, len(split))):
        token_ids = split.token_ids[row, : int(split.last_position[row]) + 1].tolist()
        shown = "|".join(tokenizer.decode([token]) for token in token_ids[:TOKENS])
        more = f" ... {len(token_ids) - TOKENS} more" if len(token_ids) > TOKENS else ""
        label = dataset.label_names[int(split.labels[row])]
        yield f"  [{label}] {len(token_ids)} tokens: {shown}{more}"
        yield f"      {token_ids[:TOKENS]}{more}"
