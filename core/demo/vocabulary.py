"""GPT-2's vocabulary reduced to the tokens that a text uses: a small table of rows for a small model.

Of GPT-2's 50,257 tokens a small text uses half. A *row* is an embedding that is really trained; every token has
one, tokens that hardly occur share that of their lower-case or capitalised twin, or else the rare row.
"""

from dataclasses import dataclass

import numpy as np
import tiktoken
from numpy.typing import NDArray

END_OF_TEXT_ROW, RARE_ROW = 0, 1  # the other rows follow from the most frequent token to the rarest


@dataclass(frozen=True)
class Vocabulary:
    """``row_of`` (V,) maps every token to its row; ``counts`` (rows,) is how often each occurs in training."""

    row_of: NDArray[np.int32]
    counts: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.counts)


def reduced_vocabulary(
    counts: NDArray[np.int64], encoding: tiktoken.Encoding, least: int, most: int
) -> Vocabulary:
    """The vocabulary of a text from how often each of GPT-2's tokens occurs in it.

    Args:
        counts: (V,) occurrences; that of the end of text is the number of messages.
        encoding: names the tokens, to find twins.
        least: a token that occurs less often gets no row of its own.
        most: rows in all, the file's size sets a limit; the most frequent tokens get them.
    """
    frequent = [int(token) for token in np.argsort(-counts, kind="stable") if counts[token] >= least]
    own = [token for token in frequent if token != encoding.eot_token][: most - 2]
    row_of = np.full(len(counts), RARE_ROW, dtype=np.int32)
    row_of[encoding.eot_token] = END_OF_TEXT_ROW
    row_of[own] = np.arange(2, 2 + len(own))
    _share_with_twins(row_of, counts, encoding)
    return Vocabulary(row_of, np.bincount(row_of, weights=counts, minlength=2 + len(own)).astype(np.int64))


def _share_with_twins(
    row_of: NDArray[np.int32], counts: NDArray[np.int64], encoding: tiktoken.Encoding
) -> None:
    """Give tokens without a row that of the most frequent token that differs in case alone (" Txt", " txt")."""
    names = [_name(encoding, token) for token in range(len(row_of))]
    best: dict[str, int] = {}
    for token in np.flatnonzero(row_of > RARE_ROW):
        name = names[token].lower()
        if name.strip().isalpha() and counts[token] > counts[best.get(name, token)] - 1:
            best[name] = int(token)
    for token in np.flatnonzero(row_of == RARE_ROW):
        twin = best.get(names[token].lower())
        if twin is not None:
            row_of[token] = row_of[twin]


def _name(encoding: tiktoken.Encoding, token: int) -> str:
    return encoding.decode_single_token_bytes(token).decode("utf-8", "replace")
