"""Strategy: LoRA whose B factors learn faster than its A factors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Count, Rank, Scale
from headtohead.core.model import GPTModel
from headtohead.core.strategy import LowRank
from headtohead.strategies._peft import PeftStrategy, plain_lora_layers

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass(frozen=True, kw_only=True)
class LoraPlus(PeftStrategy):
    """Low-rank adapters whose second factor has a larger learning rate than the first, and the head.

    Parameters: L*r*18*D + D*C + C (LoRA's).
    At 124M: 2,655,746
    Learning rate: 2e-4 for A and the head; the paper's authors advise less than LoRA's, and a ratio of 2^4;
      on the demo 6.3e-4 was the best of five from 2e-5 to 2e-3 (three seeds, one epoch: results/zoo).
    Reference: Hayou et al. (2024), LoRA+: Efficient Low Rank Adaptation of Large Models, arXiv:2402.12354.
    When: LoRA converges too slowly.
    """

    learning_rate: float = 2e-4
    ratio: Scale = 16.0
    r: Rank = 16
    alpha: Count = 16

    def config(self, model: GPTModel, target_modules: list[str]) -> "LoraConfig":
        from peft import LoraConfig

        return LoraConfig(r=self.r, lora_alpha=self.alpha, target_modules=target_modules)

    def learning_rate_of(self, name: str, config: GPTConfig) -> float:
        return self.learning_rate * (self.ratio if "lora_B" in name else 1.0)

    def low_rank(self, model: GPTModel) -> dict[nn.Module, LowRank]:
        return plain_lora_layers(model)

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * (inputs + outputs)
