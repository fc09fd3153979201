"""Windows of token rows for training: messages, each followed by a run of end of text.

A classifier reads the last position of a message that is padded with end of text, so padding has to carry the
message. Here every message is followed by a run of end of text, and at positions in the run the model predicts
a word of that message, rarer words more often: only a model that carries the message along can do that.
Shapes: B windows of T positions; a window begins with a message.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headtohead.core.demo.vocabulary import END_OF_TEXT_ROW

NO_TARGET = -1
PLAIN_SHARE = 0.65  # of messages; the others are in another spelling
# (length of windows, share of steps, share of windows with one message and end of text behind it alone).
WINDOWS = ((64, 0.75, 0.2), (128, 0.17, 0.5), (256, 0.08, 0.5))
RUNS = (1, 1, 2, 3, 4, 6, 8, 12, 16, 24)  # lengths of end of text between messages
MOST_SUMMARIES = 8  # positions of one run that are trained
COMMON = 1e-3  # a token more frequent than this is drawn less often than it occurs (word2vec's subsampling)


@dataclass(frozen=True)
class Pieces:
    """Messages end to end: ``rows`` (N,), message i is ``rows[starts[i]:starts[i + 1]]``.

    ``groups`` gives (first message, one after the last, probability of drawing a message from here).
    """

    rows: NDArray[np.int32]
    starts: NDArray[np.int64]
    groups: tuple[tuple[int, int, float], ...]


class WindowMaker:
    """Draws batches of windows; the same random generator gives the same batches."""

    def __init__(self, pieces: Pieces, counts: NDArray[np.int64]) -> None:
        self.pieces = pieces
        frequency = counts / counts.sum()
        weights = np.minimum(1.0, np.sqrt(COMMON / np.maximum(frequency, 1e-12)))
        self.cumulative = np.concatenate([[0.0], np.cumsum(weights[pieces.rows])])

    def batch(
        self, random: np.random.Generator, positions: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Inputs (B, T) and targets (B, T) with B * T = ``positions``; T is drawn, NO_TARGET is not trained."""
        length, _, single = WINDOWS[random.choice(len(WINDOWS), p=[share for _, share, _ in WINDOWS])]
        inputs = np.full((positions // length, length), END_OF_TEXT_ROW, dtype=np.int64)
        targets = np.full_like(inputs, NO_TARGET)
        messages = self._messages(random)
        for window in range(len(inputs)):
            alone = random.random() < single
            self._fill(inputs[window], targets[window], messages, alone, random)
        return inputs, targets

    def _messages(self, random: np.random.Generator) -> Iterator[tuple[int, int]]:
        """(start, end) of messages, without end."""
        first, after, share = (np.array(column) for column in zip(*self.pieces.groups, strict=True))
        while True:
            group = random.choice(len(first), size=256, p=share)
            index = first[group] + (random.random(256) * (after - first)[group]).astype(np.int64)
            for start, end in zip(self.pieces.starts[index], self.pieces.starts[index + 1], strict=True):
                yield int(start), int(end)

    def _fill(
        self,
        inputs: NDArray[np.int64],
        targets: NDArray[np.int64],
        messages: Iterator[tuple[int, int]],
        alone: bool,
        random: np.random.Generator,
    ) -> None:
        """One window (T,) in place: message, run, message, run ...; what does not fit is cut off."""
        place, length = 0, len(inputs)
        while place < length:
            start, end = next(messages)
            used = min(end - start, length - place)
            inputs[place : place + used] = self.pieces.rows[start : start + used]
            following = np.append(self.pieces.rows[start + 1 : end], END_OF_TEXT_ROW)
            targets[place : place + used] = following[:used]
            place += used
            run = length - place if alone else min(RUNS[random.integers(len(RUNS))], length - place)
            trained = self._trained_places(run, random)
            targets[place + trained] = self._words(start, end, len(trained), random)
            place += run

    @staticmethod
    def _trained_places(run: int, random: np.random.Generator) -> NDArray[np.int64]:
        """Places in a run of end of text that are trained: all of a short one, some of a long one."""
        if run <= MOST_SUMMARIES:
            return np.arange(run)
        return random.integers(run, size=MOST_SUMMARIES)

    def _words(self, start: int, end: int, number: int, random: np.random.Generator) -> NDArray[np.int32]:
        """Tokens of one message, drawn with the weights above."""
        low, high = self.cumulative[start], self.cumulative[end]
        drawn = low + random.random(number) * (high - low)
        places = np.searchsorted(self.cumulative, drawn, side="right") - 1
        return self.pieces.rows[np.minimum(places, end - 1)]
