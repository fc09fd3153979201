"""Texts as tokens: the batch encoder gives what one text after the other gives; lengths are counted before the cut."""

import torch

from headtohead.core.tokenizer import GPT2
from headtohead.core.tokens import encode_texts, length_statistics, tokenise, tokenise_splits

TEXTS = ["see you at eight", "", "<|endoftext|> is text here", "naïve café 🙂", "a" * 50]


def test_texts_encoded_together_are_those_encoded_alone() -> None:
    tokens, at = tokenise(TEXTS), 0
    for text, length in zip(TEXTS, tokens.lengths.tolist(), strict=True):
        assert tokens.ids[at : at + length].tolist() == GPT2.encode(text)
        at += length
    assert at == len(tokens.ids)


def test_padding_and_truncation() -> None:
    token_ids, last = encode_texts(TEXTS, 4)
    for row, text in enumerate(TEXTS):
        kept = GPT2.encode(text)[:4]
        assert token_ids[row].tolist() == kept + [GPT2.pad_id] * (4 - len(kept))
        assert last[row] == max(0, len(kept) - 1)
    assert token_ids.dtype == last.dtype == torch.int64


def test_progress_counts_over_all_splits() -> None:
    seen: list[tuple[int, int]] = []
    tokenise_splits({"train": TEXTS, "test": TEXTS[:2]}, GPT2, lambda done, total: seen.append((done, total)))
    assert seen == [(5, 7), (7, 7)]


def test_lengths_are_those_before_the_cut() -> None:
    found = length_statistics(tokenise(["one", "one two three", "one two"]), 2)
    assert (found["shortest"], found["median"], found["longest"]) == (1, 2, 3)
    assert found["truncated_share"] == 1 / 3
