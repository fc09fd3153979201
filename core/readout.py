"""What a class is read from: the position of a message whose hidden state the head sees, and what that position sees.

Everything that depends on it asks here: the data set's sequences, the reference path, a classifier on disk, and
the plans of the engine, which leave out what the readout cannot see. Torch is not imported.
Shapes: N messages, T tokens after padding.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from headtohead.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ReadoutName = Literal["last", "last_real"]
READOUTS: dict[str, str] = {
    "last": "the last position (padding included)",
    "last_real": "the last real token",
}


@dataclass(frozen=True)
class Readout:
    """Where a class is read.

    Attributes:
        name: one of :data:`READOUTS`.
        causal: a token sees only itself and those before it.
    """

    name: str = "last"
    causal: bool = True

    def __post_init__(self) -> None:
        if self.name not in READOUTS:
            raise InputError(
                f"a class cannot be read at {self.name!r}; use {' or '.join(get_args(ReadoutName))}"
            )

    @property
    def words(self) -> str:
        """For reports, behind "the logits of"."""
        return READOUTS[self.name]

    def positions(self, last_real: "Tensor", max_length: int) -> "Tensor":
        """The position (N,) whose logits classify.

        Args:
            last_real: (N,) each message's last token that is no padding.
            max_length: T.
        """
        return last_real if self.name == "last_real" else last_real.new_full(last_real.shape, max_length - 1)

    def lengths(self, last_real: "Tensor", max_length: int) -> "Tensor":
        """How many tokens (N,) of each padded message can matter: all those that the position sees."""
        if not self.causal:
            return last_real.new_full(last_real.shape, max_length)
        return self.positions(last_real, max_length) + 1

    def why_reference(self) -> str | None:
        """Why only the reference path computes this; None where a plan may read one token of each sequence's end."""
        return None if self.causal else "attention is not causal, so every token matters to every other"
