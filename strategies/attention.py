"""Strategy: the attention of every block."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._insert import blocks_of


@dataclass(frozen=True, kw_only=True)
class Attention(Strategy):
    """The four linear layers of every block's attention, and the head.

    Parameters: L*(4*D^2 + 4*D) + D*C + C.
    At 124M: 28,349,954
    Learning rate: the chapter's; on the demo 5e-4 was the best of five from 5e-5 to 5e-3 (three seeds, one
      epoch: results/zoo).
    Reference: Touvron et al. (2022), Three things everyone should know about Vision Transformers, arXiv:2203.09795.
    When: all layers are too many; the paper finds attention alone about as good, at a third of the blocks' weights.
    """

    family: ClassVar[str] = "selective"

    def apply(self, model: GPTModel) -> None:
        unfreeze(*(block.att for block in blocks_of(model)))

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return dict.fromkeys(range(config.n_layers), 4 * config.emb_dim**2 + 4 * config.emb_dim)
