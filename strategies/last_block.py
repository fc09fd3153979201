"""Strategy: the last transformer block, the final norm and the head, as in the chapter."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._counts import block


@dataclass(frozen=True, kw_only=True)
class LastBlock(Strategy):
    """The last transformer block, the final norm and the head.

    Parameters: 12*D^2 + 13*D (block) + 2*D (final norm) + D*C + C (head).
    At 124M: 7,090,946
    Learning rate: the chapter's; on the demo 5e-3 was the best of five from 5e-5 to 5e-3, the edge (three
      seeds, one epoch: results/zoo).
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), chapter 6.
    When: the chapter's choice; most of the gain of finetuning everything at a fraction of the time.
    """

    family: ClassVar[str] = "selective"

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.trf_blocks[-1], model.final_norm)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {config.n_layers - 1: block(config), "final_norm": 2 * config.emb_dim}
