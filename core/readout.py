"""What a class is read from: the positions of a message whose hidden states the head sees, and what these see.

Everything that depends on it asks here: flags, the data set's sequences, the reference path, a classifier on disk,
and the plans of the engine, which leave out what the readout cannot see. Torch is not imported.
Shapes: N messages, T tokens after padding.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from headtohead.core.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

ReadoutName = Literal["last", "last_real", "first", "mean"]
READOUTS: dict[str, str] = {
    "last": "the last position (padding included)",
    "last_real": "the last real token",
    "first": "the first token",
    "mean": "the mean over all positions (padding included)",
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
            *most, last = get_args(ReadoutName)
            raise InputError(f"a class cannot be read at {self.name!r}; use {', '.join(most)} or {last}")

    @property
    def words(self) -> str:
        """For reports, behind "the logits of"."""
        return READOUTS[self.name]

    @property
    def pools(self) -> bool:
        """Whether the head reads a mean over positions instead of one of them."""
        return self.name == "mean"

    def positions(self, last_real: "Tensor", max_length: int) -> "Tensor | None":
        """The position (N,) whose logits classify; None where all do.

        Args:
            last_real: (N,) each message's last token that is no padding.
            max_length: T.
        """
        if self.pools:
            return None
        if self.name == "last_real":
            return last_real
        return last_real.new_full(last_real.shape, 0 if self.name == "first" else max_length - 1)

    def lengths(self, last_real: "Tensor", max_length: int) -> "Tensor":
        """How many tokens (N,) of each padded message can matter: all those that the position sees."""
        positions = self.positions(last_real, max_length) if self.causal else None
        return last_real.new_full(last_real.shape, max_length) if positions is None else positions + 1

    def key(self) -> tuple[object, ...]:
        """What tells hidden states apart that are kept for it, beside the tokens; empty for the usual ones."""
        return () if self.causal and not self.pools else (self.name, self.causal)
