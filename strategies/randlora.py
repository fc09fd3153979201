"""Strategy: sums of random low-rank matrices with trained scales."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from headtohead.core.fields import Count, Rank
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import RandLoraConfig


@dataclass(frozen=True, kw_only=True)
class Randlora(PeftStrategy):
    """Trained scales of many random low-rank matrices that add up to full rank on every linear layer, and the head.

    Parameters: L*6*(D/r)*(r + D) + D*C + C (D/r random matrices per layer, rounded up).
    At 124M: 1,383,938
    Learning rate: 3e-4, better than 1e-3 in a sweep on the demo (3 epochs).
    Reference: Albert et al. (2025), RandLoRA: Full-rank parameter-efficient fine-tuning, arXiv:2502.00987.
    When: LoRA's rank is what limits it, and parameters must stay few.
    """

    learning_rate: float = 3e-4
    r: Rank = 32
    alpha: Count = 640

    def config(self, model: GPTModel, target_modules: list[str]) -> "RandLoraConfig":
        from peft import RandLoraConfig

        return RandLoraConfig(
            r=self.r,
            randlora_alpha=self.alpha,
            # The matrices follow from a fixed key, so that they need not be saved with every classifier.
            projection_prng_key=0,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        matrices = ceil(min(inputs, outputs) / self.r)
        return matrices * (self.r + min(inputs, outputs))
