"""Labelled messages: found, balanced, split, written as csv files, tokenised and padded as in the book.

The book is "Build a Large Language Model (From Scratch)" by Sebastian Raschka, chapter 6; ``core.messages`` finds
the rows, ``core.splits`` arranges them, ``core.tokens`` encodes them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
import torch
from torch import Tensor

from headtohead.core import messages
from headtohead.core.errors import InputError
from headtohead.core.preparation import Preparation
from headtohead.core.readers import LabelledText, read_labelled_texts
from headtohead.core.readers.folder import ALL
from headtohead.core.splits import (
    balance_classes,
    check_every_class_is_trained,
    class_counts,
    duplicates,
    find_label_names,
    keeps_most,
    split_rows,
    to_table,
    with_validation,
    without_duplicates,
)
from headtohead.core.tokenizer import GPT2, Tokenizer
from headtohead.core.tokens import OnTokens, Tokens, length_statistics, tokenise_splits


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
    preparation: Preparation | None = None

    @property
    def csv_sha256(self) -> dict[str, str]:
        """The hash of each csv file."""
        return {name: hashlib.sha256(content).hexdigest() for name, content in self.csv.items()}


@dataclass(frozen=True)
class Choices:
    """What the user decides about rows and splits.

    Attributes:
        balance: sample every class down to the smallest; None for the source's own way, else where that keeps most.
        stratified: give every class the same share in every split.
        drop_duplicates: keep every text once.
    """

    balance: bool | None = None
    stratified: bool = False
    drop_duplicates: bool = False


def load_dataset(
    data: str | None,
    *,
    context_length: int,
    max_length: int | None = None,
    label_column: str | None = None,
    text_column: str | None = None,
    balance: bool | None = None,
    download: bool = True,
    files: Mapping[str, str] | None = None,
    stratified: bool = False,
    drop_duplicates: bool = False,
    tokenizer: Tokenizer | None = None,
    on_progress: OnTokens | None = None,
) -> Dataset:
    """Messages split, written as csv files (:attr:`Dataset.csv`), and tokenised from what these say.

    Args:
        data: None or "sms_spam" for the SMS Spam Collection, "imdb", "demo", "hf:NAME", a file or a folder.
        context_length: the most tokens that the model takes.
        max_length: T; longer messages are truncated. None takes the longest training message.
        label_column, text_column: names in the file's header, needed where they are not the usual ones.
        balance, stratified, drop_duplicates: see :class:`Choices`.
        download: whether what is not in the cache may be fetched.
        files: a file for each split, instead of ``data``.
        tokenizer: the model's; None for GPT-2's.
        on_progress: called with the messages tokenised and in all.

    Raises:
        Unavailable: the messages can be neither found nor downloaded.
        InputError: anything wrong with the files or with ``max_length``.
    """
    _check_max_length(max_length, context_length)
    found = messages.find(data, files, label_column=label_column, text_column=text_column, download=download)
    label_names = find_label_names(found.rows, found.file)
    choices = Choices(balance, stratified, drop_duplicates)
    tables, prepared = prepare(found, label_names, choices)
    check_every_class_is_trained(tables["train"], label_names, found.file)
    csv = {name: rows.to_csv(index=False, lineterminator="\n").encode() for name, rows in tables.items()}
    written = {name: read_split_csv(content, f"{name}.csv") for name, content in csv.items()}
    texts = {name: [row.text for row in rows] for name, rows in written.items()}
    tokens = tokenise_splits(texts, tokenizer or GPT2, on_progress)
    if max_length is None:
        max_length = longest_message(tokens["train"], context_length)
    splits = {name: encode_split(rows, tokens[name], max_length) for name, rows in written.items()}
    lengths = {name: length_statistics(each, max_length) for name, each in tokens.items()}
    return Dataset(
        name=found.name,
        source=found.description,
        label_names=label_names,
        **splits,
        max_length=max_length,
        sha256=hashlib.sha256(b"".join(csv.values())).hexdigest(),
        csv=csv,
        is_demo=found.is_demo,
        test_texts_seen_in_train=prepared.duplicates["test_in_train"],
        preparation=replace(prepared, lengths=lengths),
    )


def prepare(
    found: messages.Messages, label_names: Sequence[str], choices: Choices
) -> tuple[dict[str, pd.DataFrame], Preparation]:
    """The tables of the three splits, and how they came about.

    Raises:
        InputError: a split lost all of its rows.
    """
    tables = {name: to_table(rows, label_names) for name, rows in found.splits.items()}
    counts = class_counts(pd.concat(list(tables.values())), len(label_names))
    before, own = sum(map(len, tables.values())), ALL not in tables
    if choices.drop_duplicates:
        tables = without_duplicates(tables)
    after = sum(map(len, tables.values()))
    balance = choices.balance
    if balance is None:
        left = class_counts(pd.concat(list(tables.values())), len(label_names))
        balance = not own and (found.balanced or keeps_most(left))
    balanced_split = "train" if own else ALL
    if balance:
        tables[balanced_split] = balance_classes(tables[balanced_split])
    if own:
        tables = with_validation(tables, stratified=choices.stratified)
    else:
        tables = split_rows(tables[ALL], stratified=choices.stratified)
    _check_splits(tables, found.file)
    kept = class_counts(pd.concat(list(tables.values())), len(label_names))
    dropped = before - after if choices.drop_duplicates else None
    return tables, Preparation(
        found.how, counts, kept, balance, choices.stratified, own, duplicates(tables), dropped, {}
    )


def _check_splits(tables: Mapping[str, pd.DataFrame], file: str) -> None:
    empty = [name for name, table in tables.items() if not len(table)]
    if empty:
        raise InputError(f"{file}: no rows are left for {empty[0]}; give more rows, or keep duplicates")


def _check_max_length(max_length: int | None, context_length: int) -> None:
    if max_length is not None and not 1 <= max_length <= context_length:
        raise InputError(
            f"--max-length {max_length} is not possible; it must lie between 1 and {context_length}, "
            "the model's context length"
        )


def read_split_csv(content: bytes, file: str) -> list[LabelledText]:
    """The rows of a csv file as :func:`load_dataset` makes them; labels are numbers there."""
    return read_labelled_texts(content, file, "Label", "Text")


def longest_message(tokens: Tokens, context_length: int) -> int:
    """The longest message in tokens.

    Raises:
        InputError: it is longer than the model's context, which only the user may decide to cut off.
    """
    longest = int(tokens.lengths.max())
    if longest > context_length:
        raise InputError(
            f"the longest training message has {longest} tokens, the model's context has {context_length}; "
            f"truncate longer messages with --max-length N, N at most {context_length}"
        )
    return max(longest, 1)


def encode_split(rows: Sequence[LabelledText], tokens: Tokens, max_length: int) -> Split:
    """Rows whose labels are numbers, as tensors."""
    token_ids, last_position = tokens.padded(max_length)
    texts = tuple(row.text for row in rows)
    return Split(texts, token_ids, last_position, torch.tensor([int(row.label) for row in rows]))


def count_seen(test_texts: Sequence[str], train_texts: Sequence[str]) -> int:
    """How many test messages occur word for word among the training messages."""
    seen = set(train_texts)
    return sum(text in seen for text in test_texts)
