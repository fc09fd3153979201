"""Strategy: shard-sharing updates."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.fields import Rank
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import MissConfig


@dataclass(frozen=True, kw_only=True)
class Miss(PeftStrategy):
    """One r x E matrix per linear layer, shared by all shards of its input, and the head.

    Parameters: L*r*9*D + D*C + C (r numbers for each of the 9*D outputs per block).
    At 124M: 5,309,954
    Learning rate: 3e-4; on the demo 9.5e-4 was the best of five from 3e-5 to 3e-3 (three seeds, one epoch:
      results/zoo).
    Reference: Kang and Yin (2024), MiSS: Revisiting the Trade-off in LoRA with an Efficient Shard-Sharing Structure,
      arXiv:2409.15371.
    When: LoRA's accuracy with fewer steps; one matrix instead of two to tune.
    """

    learning_rate: float = 3e-4
    r: Rank = 64

    def config(self, model: GPTModel, target_modules: list[str]) -> "MissConfig":
        from peft import MissConfig

        return MissConfig(
            r=self.r,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * outputs
