"""Texts as tokens: encoded on all cores, kept flat, padded to one length, and counted.

Shapes: N texts, n tokens of all of them together, T tokens after padding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headtohead.core.tokenizer import GPT2, Tokenizer, gpt2_encoding

CHUNK = 2_000  # texts between two reports of progress
OnTokens = Callable[[int, int], None]  # texts encoded, of all


@dataclass(frozen=True)
class Tokens:
    """The tokens of N texts, one text after the other: ``ids`` (n,) int32 and ``lengths`` (N,) int64."""

    ids: np.ndarray
    lengths: np.ndarray
    pad_id: int

    def padded(self, max_length: int) -> tuple[Tensor, Tensor]:
        """Every text truncated or padded to ``max_length`` tokens (T).

        Returns:
            token_ids (N,T) and last_position (N,), the index of the last token that is no padding (0 where a text
            has no tokens); both int64.
        """
        kept = np.minimum(self.lengths, max_length)
        inside = np.arange(max_length) < kept[:, None]  # (N,T)
        starts = np.cumsum(self.lengths) - self.lengths
        token_ids = np.full(inside.shape, self.pad_id, dtype=np.int64)
        within = np.arange(int(kept.sum())) - np.repeat(np.cumsum(kept) - kept, kept)
        token_ids[inside] = self.ids[np.repeat(starts, kept) + within]
        return torch.from_numpy(token_ids), torch.from_numpy(np.maximum(kept - 1, 0))


def tokenise(
    texts: Sequence[str], tokenizer: Tokenizer = GPT2, on_progress: OnTokens | None = None
) -> Tokens:
    """The tokens of all texts; for GPT-2's, tiktoken's threads work on them side by side, outside of Python's lock."""
    parts, lengths = [np.zeros(0, dtype=np.int32)], np.zeros(len(texts), dtype=np.int64)
    for start in range(0, len(texts), CHUNK):
        chunk = _encoded(texts[start : start + CHUNK], tokenizer)
        lengths[start : start + len(chunk)] = [len(tokens) for tokens in chunk]
        parts.append(np.fromiter((token for tokens in chunk for token in tokens), dtype=np.int32))
        if on_progress is not None:
            on_progress(start + len(chunk), len(texts))
    return Tokens(np.concatenate(parts), lengths, tokenizer.pad_id)


def _encoded(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    if tokenizer is GPT2:
        return gpt2_encoding().encode_ordinary_batch(list(texts))
    return [tokenizer.encode(text) for text in texts]


def tokenise_splits(
    splits: Mapping[str, Sequence[str]], tokenizer: Tokenizer, on_progress: OnTokens | None
) -> dict[str, Tokens]:
    """The tokens of every split, with one progress over all."""
    total, done, found = sum(map(len, splits.values())), 0, {}
    for name, texts in splits.items():
        before = done

        def report(some: int, _: int, before: int = before) -> None:
            if on_progress is not None:
                on_progress(before + some, total)

        found[name] = tokenise(texts, tokenizer, report)
        done += len(texts)
    return found


def encode_texts(
    texts: Sequence[str], max_length: int, tokenizer: Tokenizer | None = None
) -> tuple[Tensor, Tensor]:
    """:meth:`Tokens.padded` of some texts, in GPT-2's tokens where no tokenizer is given."""
    return tokenise(texts, tokenizer or GPT2).padded(max_length)


def length_statistics(tokens: Tokens, max_length: int) -> dict[str, float]:
    """How long messages are in tokens, and which share of them ``max_length`` truncates."""
    lengths = tokens.lengths
    return {
        "shortest": float(lengths.min()),
        "median": float(np.median(lengths)),
        "mean": float(lengths.mean()),
        "percentile_95": float(np.percentile(lengths, 95)),
        "longest": float(lengths.max()),
        "truncated_share": float((lengths > max_length).mean()),
    }
