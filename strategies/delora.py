"""Strategy: low-rank updates of bounded norm."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.fields import Count, Rank
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import DeloraConfig


@dataclass(frozen=True, kw_only=True)
class Delora(PeftStrategy):
    """Normalised low-rank updates with a trained strength on every linear layer of the blocks, and the head.

    Parameters: L*(r*18*D + 6) + D*C + C (LoRA, and one strength per layer).
    At 124M: 1,328,714
    Learning rate: 1e-3; on the demo 1e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Bini et al. (2025), Decoupling Angles and Strength in Low-rank Adaptation, arXiv:2503.18225.
    When: LoRA is too sensitive to its learning rate or to the number of epochs.
    """

    learning_rate: float = 1e-3
    r: Rank = 8
    strength: Count = 15

    def config(self, model: GPTModel, target_modules: list[str]) -> "DeloraConfig":
        from peft import DeloraConfig

        return DeloraConfig(
            r=self.r,
            delora_lambda=self.strength,
            target_modules=target_modules,
        )

    def weight_decay_of(self, name: str) -> float:
        return 0.0 if "delora_lambda" in name else self.weight_decay  # the strength, which begins above 0

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * (inputs + outputs) + 1
