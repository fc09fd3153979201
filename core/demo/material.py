"""From folders of text to what training reads: a reduced vocabulary, pieces as rows, and held-out messages."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tiktoken
from numpy.typing import NDArray

from headtohead.core.demo.corpus import Source, read_sources
from headtohead.core.demo.vocabulary import END_OF_TEXT_ROW, Vocabulary, reduced_vocabulary
from headtohead.core.demo.windows import PLAIN_SHARE, Pieces
from headtohead.core.tokenizer import gpt2_encoding

SHARE_EXPONENT = 0.5  # a source's share of the training tokens grows with the root of its size
LEAST_OCCURRENCES = 3
MOST_ROWS = 31_000  # with 128 dimensions in float16 the file stays below 10 MB
LONGEST_HELD_OUT = 64  # tokens, with the end of text


@dataclass(frozen=True)
class Material:
    """What one training run reads.

    ``held_out`` maps a source's name to messages (rows, end of text included); ``shares`` to its share of the
    training tokens.
    """

    vocabulary: Vocabulary
    pieces: Pieces
    plain_messages: int  # so many messages, the first ones, are as written
    held_out: dict[str, list[NDArray[np.int32]]]
    shares: dict[str, float]


def prepare(folder: Path, seed: int, threads: int = 1) -> Material:
    """Read, cut, encode and reduce; the same folder and seed give the same material.

    Raises:
        InputError: see :func:`headtohead.core.demo.corpus.read_sources`.
    """
    sources = read_sources(folder, seed)
    encoding = gpt2_encoding()
    texts = [source.plain for source in sources] + [source.varied for source in sources]
    encoded = [_encode(encoding, pieces, threads) for pieces in texts]
    vocabulary = _vocabulary(encoding, encoded)
    rows = vocabulary.row_of[np.concatenate([tokens for tokens, _ in encoded])]
    starts = np.concatenate([[0], np.cumsum(np.concatenate([lengths for _, lengths in encoded]))])
    shares = _shares(sources)
    return Material(
        vocabulary=vocabulary,
        pieces=Pieces(rows, starts, _groups([lengths for _, lengths in encoded], list(shares.values()))),
        plain_messages=sum(len(source.plain) for source in sources),
        held_out={source.name: _held_out(encoding, source, vocabulary) for source in sources},
        shares=shares,
    )


def _encode(
    encoding: tiktoken.Encoding, texts: list[str], threads: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Tokens end to end (N,) and the length of each text."""
    encoded = encoding.encode_ordinary_batch(texts, num_threads=threads)
    lengths = np.array([len(tokens) for tokens in encoded], dtype=np.int64)
    return np.fromiter((token for tokens in encoded for token in tokens), np.int32, lengths.sum()), lengths


def _vocabulary(
    encoding: tiktoken.Encoding, encoded: list[tuple[NDArray[np.int32], NDArray[np.int64]]]
) -> Vocabulary:
    counts = np.zeros(encoding.n_vocab, dtype=np.int64)
    for tokens, lengths in encoded:
        counts += np.bincount(tokens, minlength=encoding.n_vocab)
        counts[encoding.eot_token] += len(lengths)
    return reduced_vocabulary(counts, encoding, LEAST_OCCURRENCES, MOST_ROWS)


def _shares(sources: list[Source]) -> dict[str, float]:
    weights = {source.name: source.characters**SHARE_EXPONENT for source in sources}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _groups(lengths: list[NDArray[np.int64]], shares: list[float]) -> tuple[tuple[int, int, float], ...]:
    """Where each group of messages lies, and how often to draw from it for its share of the *tokens*."""
    spelling = [PLAIN_SHARE] * len(shares) + [1 - PLAIN_SHARE] * len(shares)
    draws = np.array(
        [
            share * part / group.mean()
            for share, part, group in zip(shares * 2, spelling, lengths, strict=True)
        ]
    )
    ends = np.cumsum([len(group) for group in lengths])
    begins = ends - [len(group) for group in lengths]
    draws /= draws.sum()
    return tuple((int(a), int(b), float(p)) for a, b, p in zip(begins, ends, draws, strict=True))


def _held_out(encoding: tiktoken.Encoding, source: Source, vocabulary: Vocabulary) -> list[NDArray[np.int32]]:
    tokens = encoding.encode_ordinary_batch(source.held_out, num_threads=1)
    messages = [vocabulary.row_of[message] for message in tokens if message]
    return [np.append(rows, np.int32(END_OF_TEXT_ROW))[:LONGEST_HELD_OUT] for rows in messages]
