"""Strategy: every weight of the model."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._counts import every_part


@dataclass(frozen=True, kw_only=True)
class AllLayers(Strategy):
    """Every weight: embeddings, all blocks, the final norm and the head.

    Parameters: V*D + P*D (embeddings, P positions) + L*(12*D^2 + 13*D) + 2*D + D*C + C.
    At 124M: 124,441,346
    Learning rate: the chapter's; on the demo 6.3e-4 was the best of five from 2e-5 to 2e-3 (three seeds,
      one epoch: results/zoo).
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), chapter 6.
    When: accuracy is all that counts, and time, memory and a full-size file per task are affordable.
    """

    family: ClassVar[str] = "selective"

    def apply(self, model: GPTModel) -> None:
        unfreeze(model)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return every_part(config)
