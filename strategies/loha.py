"""Strategy: Hadamard products of low-rank updates."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.fields import Count, Rank
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import LoHaConfig


@dataclass(frozen=True, kw_only=True)
class Loha(PeftStrategy):
    """The elementwise product of two low-rank updates on every linear layer of the blocks, and the head.

    Parameters: L*2*r*18*D + D*C + C (two pairs of factors per layer).
    At 124M: 2,655,746
    Learning rate: 3e-3; on the demo 3e-3 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Hyeon-Woo et al. (2021), FedPara: Low-Rank Hadamard Product, arXiv:2108.06098.
    When: the update should have a rank up to r^2 for the price of 2r.
    """

    learning_rate: float = 3e-3
    r: Rank = 8
    alpha: Count = 8

    def config(self, model: GPTModel, target_modules: list[str]) -> "LoHaConfig":
        from peft import LoHaConfig

        return LoHaConfig(
            r=self.r,
            alpha=self.alpha,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return 2 * self.r * (inputs + outputs)
