"""Strategy: the output head alone."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy


@dataclass(frozen=True, kw_only=True)
class Head(Strategy):
    """The output head only; every pretrained weight stays frozen.

    Parameters: D*C + C (D = emb_dim, C classes).
    At 124M: 1,538
    Learning rate: the chapter's; on the demo 1.6e-3 was the best of five from 5e-4 to 5e-2 (three seeds,
      one epoch: results/zoo).
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), chapter 6.
    When: the cheapest baseline that uses the model at all; any other strategy must beat it.
    """

    family: ClassVar[str] = "selective"

    def apply(self, model: GPTModel) -> None:
        """Nothing to unfreeze: the head is trained under every strategy."""

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {}
