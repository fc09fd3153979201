"""Strategy: the perceptron of every block."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._insert import blocks_of


@dataclass(frozen=True, kw_only=True)
class Perceptrons(Strategy):
    """The two linear layers of every block's perceptron, and the head.

    Parameters: L*(8*D^2 + 5*D) + D*C + C.
    At 124M: 56,670,722
    Learning rate: the chapter's; on the demo 1.6e-3 was the best of five from 5e-5 to 5e-3 (three seeds,
      one epoch: results/zoo).
    Reference: Touvron et al. (2022), Three things everyone should know about Vision Transformers, arXiv:2203.09795.
    When: beside attention, to see which half of a block the task needs.
    """

    family: ClassVar[str] = "selective"

    def apply(self, model: GPTModel) -> None:
        unfreeze(*(block.ff for block in blocks_of(model)))

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return dict.fromkeys(range(config.n_layers), 8 * config.emb_dim**2 + 5 * config.emb_dim)
