"""Strategy: the last n transformer blocks, the final norm and the head."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Blocks
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._counts import block


@dataclass(frozen=True, kw_only=True)
class LastNBlocks(Strategy):
    """The last n transformer blocks, the final norm and the head.

    Parameters: n*(12*D^2 + 13*D) + 2*D + D*C + C (blocks, final norm, head).
    At 124M: 14,178,818
    Learning rate: the chapter's; on the demo 1.6e-3 was the best of five from 5e-5 to 5e-3 (three seeds,
      one epoch: results/zoo).
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), chapter 6, bonus experiments.
    When: the last block alone is not enough, and all layers are too slow.
    """

    family: ClassVar[str] = "selective"

    n: Blocks = 2

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.trf_blocks[-self.n :], model.final_norm)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        last = range(config.n_layers - self.n, config.n_layers)
        return {**dict.fromkeys(last, block(config)), "final_norm": 2 * config.emb_dim}
