"""The distinct messages of a data set and how a batch of them lies in memory.

A sequence holds the tokens that can matter (``core.readout``): read at the last position it has the full padded
length; read at the last real token it is as long as its message, and a batch holds no padding at all; read at the
first, it is one token. Where attention is not causal, or the mean is read, it always has the full length. The same
padded message occurs several times in real data (7 % of the SMS messages), so hidden states and evaluations are
computed once per distinct sequence.
Shapes: U distinct sequences, B of them in a batch, n their tokens together, T the longest of the batch.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headtohead.core.data import Dataset
from headtohead.core.readout import Readout
from headtohead.core.training import SPLITS, SplitName, TrainConfig


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch lie: flat rows (n, ...) without padding, or padded (B, T, ...)."""

    batch: int
    longest: int
    slots: Tensor | None  # (n,) the slot of each flat row among the B*T padded ones; None: all equally long
    last: Tensor  # (B,) the flat row of each sequence's last token
    read: Tensor  # (B,) the flat row of the token whose logits classify: the last one, where attention is causal

    def to(self, device: str) -> "Layout":
        """A copy on a device."""
        slots = None if self.slots is None else self.slots.to(device, non_blocking=True)
        last = self.last.to(device, non_blocking=True)
        read = last if self.read is self.last else self.read.to(device, non_blocking=True)
        return Layout(self.batch, self.longest, slots, last, read)

    def pad(self, rows: Tensor) -> Tensor:
        """(n, C) -> (B, T, C); rows after a sequence's end are zero."""
        if self.slots is not None:
            padded = rows.new_zeros(self.batch * self.longest, rows.shape[-1])
            rows = padded.index_copy(0, self.slots, rows)
        return rows.view(self.batch, self.longest, rows.shape[-1])

    def flatten(self, padded: Tensor) -> Tensor:
        """(B, T, C) -> (n, C)."""
        rows = padded.reshape(-1, padded.shape[-1])
        return rows if self.slots is None else rows[self.slots]

    def ended(self) -> Tensor | None:
        """(B, T) True where a sequence has already ended; None where all are equally long."""
        if self.slots is None:
            return None
        lengths = torch.diff(self.last, prepend=self.last.new_full((1,), -1))
        return torch.arange(self.longest, device=lengths.device) >= lengths[:, None]


@dataclass(frozen=True)
class Sequences:
    """Every distinct sequence of a data set, one after the other, and which one each row of a split is.

    All of it stays on the CPU: where tokens lie is worked out there, so that no step waits for an accelerator.
    """

    token_ids: Tensor  # (sum of lengths,)
    lengths: Tensor  # (U,)
    of_row: dict[SplitName, Tensor]  # split -> (N,) number of the sequence
    read: Tensor | None = None  # (U,) the token of each whose logits classify; None for the last, or for all
    readout: Readout = Readout()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        object.__setattr__(self, "offsets", torch.cumsum(self.lengths, 0) - self.lengths)
        longest = int(self.lengths.max())
        object.__setattr__(self, "equal_length", longest if bool((self.lengths == longest).all()) else None)

    offsets: Tensor = None  # type: ignore[assignment]  # (U,) where each sequence begins
    equal_length: int | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    def layout(self, numbers: Tensor) -> Layout:
        """The layout of a batch of sequences (B,)."""
        lengths = self.lengths[numbers]
        last = torch.cumsum(lengths, 0) - 1
        read = last if self.read is None else last - lengths + 1 + self.read[numbers]
        if self.equal_length is not None:
            return Layout(len(numbers), self.equal_length, None, last, read)
        longest = int(lengths.max())
        inside = torch.arange(longest, device=lengths.device) < lengths[:, None]
        return Layout(len(numbers), longest, inside.flatten().nonzero().squeeze(1), last, read)

    def token_rows(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The flat rows (n,) of a batch's tokens in ``token_ids``, and their positions (n,) in their messages."""
        lengths = self.lengths[numbers]
        starts = torch.repeat_interleave(torch.cumsum(lengths, 0) - lengths, lengths)
        positions = torch.arange(len(starts), device=starts.device) - starts
        return torch.repeat_interleave(self.offsets[numbers], lengths) + positions, positions

    def sha256(self) -> str:
        """Identifies the sequences, whichever rows they belong to."""
        digest = hashlib.sha256(self.lengths.numpy().tobytes())
        digest.update(self.token_ids.numpy().tobytes())
        if self.readout.key():
            digest.update(repr(self.readout.key()).encode())
        if self.read is not None:
            digest.update(self.read.numpy().tobytes())
        return digest.hexdigest()


def distinct_sequences(dataset: Dataset, config: TrainConfig) -> Sequences:
    """Find the distinct sequences of a data set, in the order of their first row (train, validation, test)."""
    readout = config.readout
    numbers: dict[tuple[bytes, int], int] = {}  # tokens as bytes, which take a twentieth of a tuple's memory
    of_row: dict[SplitName, Tensor] = {}
    for name in SPLITS:
        split = getattr(dataset, name)
        lengths = readout.lengths(split.last_position, dataset.max_length)
        read = readout.positions(split.last_position, dataset.max_length)
        read = lengths - 1 if read is None else read
        token_ids = split.token_ids.to(torch.int32).numpy()
        parts = zip(token_ids, lengths.tolist(), read.tolist(), strict=True)
        of_row[name] = torch.tensor(
            [numbers.setdefault((row[:end].tobytes(), at), len(numbers)) for row, end, at in parts]
        )
    whole = np.frombuffer(b"".join(row for row, _ in numbers), dtype=np.int32)
    reads = None if readout.causal or readout.pools else torch.tensor([at for _, at in numbers])
    ends = torch.tensor([len(row) // whole.itemsize for row, _ in numbers])
    return Sequences(torch.from_numpy(whole.astype(np.int64)), ends, of_row, reads, readout)
