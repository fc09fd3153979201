"""Labelled messages: found, balanced, split, written as csv files, tokenised and padded as in the book.

The book is "Build a Large Language Model (From Scratch)" by Sebastian Raschka, chapter 6: classes sampled
down to the smallest, 70 % / 10 % / rest for training, validation and test, every draw with random_state 123.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from headtohead.core import sources
from headtohead.core.config import END_OF_TEXT
from headtohead.core.errors import InputError
from headtohead.core.readers import LabelledText, read_labelled_texts
from headtohead.core.tokenizer import GPT2, Tokenizer

PAD_TOKEN_ID = END_OF_TEXT
RANDOM_STATE = 123
TRAIN_FRACTION = 0.7
VALIDATION_FRACTION = 0.1
FEWEST_ROWS_PER_CLASS = 10


@dataclass(frozen=True)
class Split:
    """N messages of one split, in the order of its csv file, padded to T tokens.

    All tensors are int64: ``token_ids`` (N,T), ``labels`` (N,), and ``last_position`` (N,), the index of the
    last token that is no padding, 0 for a text without tokens.
    """

    texts: tuple[str, ...]
    token_ids: Tensor
    last_position: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Dataset:
    """The three splits and everything that a report says about them.

    ``label_names[i]`` is the name of label i. ``max_length`` is T. ``csv`` holds the three csv files by split,
    ``sha256`` is taken over them one after another. ``test_texts_seen_in_train`` counts the test messages that
    occur word for word in training.
    """

    name: str
    source: str
    label_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    max_length: int
    sha256: str
    csv: dict[str, bytes] = field(repr=False)
    is_demo: bool
    test_texts_seen_in_train: int

    @property
    def csv_sha256(self) -> dict[str, str]:
        """The hash of each csv file."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.csv.items()}


def load_dataset(
    data: str | None,
    *,
    context_length: int,
    max_length: int | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    balance: bool = True,
    download: bool = True,
    tokenizer: Tokenizer | None = None,
) -> Dataset:
    """Messages split, written as csv files (:attr:`Dataset.csv`), and tokenised from what these say.

    Args:
        data: None or "sms_spam" for the SMS Spam Collection, "demo" for the demo corpus, or a file.
        context_length: the most tokens that the model takes.
        max_length: T; longer messages are truncated. None takes the longest training message.
        label_column, text_column: names in the file's header, needed where they are not the usual ones.
        balance: sample every class down to the smallest.
        download: whether the SMS Spam Collection may be fetched where it is not in the cache.
        tokenizer: the model's; None for GPT-2's.

    Raises:
        Unavailable: the SMS Spam Collection is needed and can be neither found nor downloaded.
        InputError: anything wrong with the file or with ``max_length``.
    """
    _check_max_length(max_length, context_length)
    source = sources.find(data, download=download)
    rows = read_labelled_texts(source.content, source.file, label_column, text_column, suffix=source.suffix)
    label_names = find_label_names(rows, source.file)
    table = to_table(rows, label_names)
    tables = split_rows(balance_classes(table) if balance else table)
    _check_every_class_is_trained(tables["train"], label_names, source.file)
    csv = {name: rows.to_csv(index=False, lineterminator="\n").encode() for name, rows in tables.items()}
    written = {name: read_split_csv(content, f"{name}.csv") for name, content in csv.items()}
    if max_length is None:
        max_length = longest_message(written["train"], context_length, tokenizer)
    splits = {name: encode_split(rows, max_length, tokenizer) for name, rows in written.items()}
    return Dataset(
        name=source.name,
        source=source.description,
        label_names=label_names,
        **splits,
        max_length=max_length,
        sha256=hashlib.sha256(b"".join(csv.values())).hexdigest(),
        csv=csv,
        is_demo=source.is_demo,
        test_texts_seen_in_train=count_seen(splits["test"].texts, splits["train"].texts),
    )


def _check_max_length(max_length: int | None, context_length: int) -> None:
    if max_length is not None and not 1 <= max_length <= context_length:
        raise InputError(
            f"--max-length {max_length} is not possible; it must lie between 1 and {context_length}, "
            "the model's context length"
        )


def find_label_names(rows: Sequence[LabelledText], file: str) -> tuple[str, ...]:
    """The classes in the order of their label numbers: integers by value, anything else by the alphabet.

    Raises:
        InputError: there is one class only, or one has too few rows to be split.
    """
    counts = Counter(row.label for row in rows)
    if len(counts) == 1:
        (only,) = counts
        raise InputError(f"{file} has only one class, {only!r}; at least two are needed to tell them apart")
    rarest = min(counts, key=lambda name: counts[name])
    if counts[rarest] < FEWEST_ROWS_PER_CLASS:
        raise InputError(
            f"{file}: the class {rarest[:40]!r} (one of {len(counts)}) has too few rows, {counts[rarest]}; "
            f"at least {FEWEST_ROWS_PER_CLASS} are needed: add rows or leave that class out"
        )
    try:
        return tuple(sorted(counts, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(counts))


def to_table(rows: Sequence[LabelledText], label_names: Sequence[str]) -> pd.DataFrame:
    """Columns Label (the class's number) and Text, the names that the book gives its csv files."""
    numbers = {name: number for number, name in enumerate(label_names)}
    return pd.DataFrame({"Label": [numbers[row.label] for row in rows], "Text": [row.text for row in rows]})


def balance_classes(table: pd.DataFrame) -> pd.DataFrame:
    """Every class sampled down to the smallest; class after class, a class of that size as it stands."""
    classes = [rows for _, rows in table.groupby("Label", sort=True)]
    smallest = min(len(rows) for rows in classes)
    # Sampling all rows of a class would shuffle it, and the book leaves its smallest class in order.
    sampled = [
        rows if len(rows) == smallest else rows.sample(smallest, random_state=RANDOM_STATE)
        for rows in classes
    ]
    return pd.concat(sampled)


def split_rows(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Shuffle, then cut into training (70 %), validation (10 %) and test rows (the rest)."""
    shuffled = table.sample(frac=1, random_state=RANDOM_STATE).reset_index(drop=True)
    train_end = int(len(shuffled) * TRAIN_FRACTION)
    validation_end = train_end + int(len(shuffled) * VALIDATION_FRACTION)
    return {
        "train": shuffled[:train_end],
        "validation": shuffled[train_end:validation_end],
        "test": shuffled[validation_end:],
    }


def _check_every_class_is_trained(train: pd.DataFrame, label_names: Sequence[str], file: str) -> None:
    trained = set(train["Label"])
    missing = [name for number, name in enumerate(label_names) if number not in trained]
    if missing:
        raise InputError(
            f"{file}: no row of the class {missing[0]!r} came into the training split of {len(train)} rows; "
            "add rows of that class or balance the classes"
        )


def read_split_csv(content: bytes, file: str) -> list[LabelledText]:
    """The rows of a csv file as :func:`load_dataset` makes them; labels are numbers there."""
    return read_labelled_texts(content, file, "Label", "Text")


def longest_message(
    rows: Sequence[LabelledText], context_length: int, tokenizer: Tokenizer | None = None
) -> int:
    """The longest message in tokens of GPT-2's tokenizer, or of another.

    Raises:
        InputError: it is longer than the model's context, which only the user may decide to cut off.
    """
    encode = (tokenizer or GPT2).encode
    longest = max(len(encode(row.text)) for row in rows)
    if longest > context_length:
        raise InputError(
            f"the longest training message has {longest} tokens, the model's context has {context_length}; "
            f"truncate longer messages with --max-length N, N at most {context_length}"
        )
    return longest


def encode_split(rows: Sequence[LabelledText], max_length: int, tokenizer: Tokenizer | None = None) -> Split:
    """Rows whose labels are numbers, as tensors."""
    texts = tuple(row.text for row in rows)
    token_ids, last_position = encode_texts(texts, max_length, tokenizer)
    return Split(texts, token_ids, last_position, torch.tensor([int(row.label) for row in rows]))


def encode_texts(
    texts: Sequence[str], max_length: int, tokenizer: Tokenizer | None = None
) -> tuple[Tensor, Tensor]:
    """The tokens of each text (GPT-2's where no tokenizer is given), truncated or padded to ``max_length`` tokens (T).

    Returns:
        token_ids (N,T) and last_position (N,), the index of the last token that is no padding (0 where a text
        has no tokens); both int64.
    """
    tokenizer = tokenizer or GPT2
    token_ids = torch.full((len(texts), max_length), tokenizer.pad_id, dtype=torch.int64)
    last_position = torch.zeros(len(texts), dtype=torch.int64)
    for row, text in enumerate(texts):
        tokens = tokenizer.encode(text)[:max_length]
        token_ids[row, : len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
        last_position[row] = max(0, len(tokens) - 1)
    return token_ids, last_position


def count_seen(test_texts: Sequence[str], train_texts: Sequence[str]) -> int:
    """How many test messages occur word for word among the training messages."""
    seen = set(train_texts)
    return sum(text in seen for text in test_texts)
