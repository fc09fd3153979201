"""Strategy: sums of random low-rank matrices with trained scales."""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from headtohead.core.fields import Count, Rank, Seed
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import RandLoraConfig


@dataclass(frozen=True, kw_only=True)
class Randlora(PeftStrategy):
    """Trained scales of many random low-rank matrices that add up to full rank on every linear layer, and the head.

    Parameters: L*6*(D/r)*(r + D) + D*C + C (D/r random matrices per layer, rounded up).
    At 124M: 1,383,938
    Learning rate: 3e-4; on the demo 9.5e-4 was the best of five from 3e-5 to 3e-3 (three seeds, one epoch:
      results/zoo).
    Reference: Albert et al. (2025), RandLoRA: Full-rank parameter-efficient fine-tuning, arXiv:2502.00987.
    Seeds: the random matrices follow from projection_seed and are the same in every run, so that no file
      holds them: the spread over seeds leaves their part out; projection_seed=1, 2 ... shows it.
    When: LoRA's rank is what limits it, and parameters must stay few.
    """

    learning_rate: float = 3e-4
    r: Rank = 32
    alpha: Count = 640
    projection_seed: Seed = 0

    def config(self, model: GPTModel, target_modules: list[str]) -> "RandLoraConfig":
        from peft import RandLoraConfig

        return RandLoraConfig(
            r=self.r,
            randlora_alpha=self.alpha,
            projection_prng_key=self.projection_seed,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        matrices = ceil(min(inputs, outputs) / self.r)
        return matrices * (self.r + min(inputs, outputs))
