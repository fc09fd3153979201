"""Strategy: low-rank factors put together from one bank of vectors."""

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, Annotated, ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Count, Range, Rank
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import VBLoRAConfig


@dataclass(frozen=True, kw_only=True)
class Vblora(PeftStrategy):
    """Low-rank factors mixed from one bank of vectors that all layers share, and the head.

    Parameters: L*r*18*D/gcd(D, vector_length)*vectors + vectors*gcd(D, vector_length) + D*C + C (logits
      over the vectors for each piece of each factor, and the bank).
    At 124M: 730,626
    Learning rate: 1e-3; on the demo 1e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Li et al. (2024), VB-LoRA: Extreme Parameter Efficient Fine-Tuning with Vector Banks, arXiv:2405.15179.
    When: thousands of tasks must be stored: after training, only the bank and the chosen vectors are needed.
    """

    # The bank and the logits are drawn, so the update is small but not zero.
    starts_at_pretrained: ClassVar[bool] = False

    learning_rate: float = 1e-3
    r: Rank = 4
    vectors: Annotated[int, Range(2, 65536)] = 256
    vector_length: Count = 256  # its greatest common divisor with D is taken
    topk: Count = 2

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        if self.topk > self.vectors:
            raise InputError(
                f"vblora.topk={self.topk}: must be at most {self.vectors}, the vectors of the bank"
            )

    def config(self, model: GPTModel, target_modules: list[str]) -> "VBLoRAConfig":
        from peft import VBLoRAConfig

        return VBLoRAConfig(
            r=self.r,
            num_vectors=self.vectors,
            vector_length=gcd(self.vector_length, model.config.emb_dim),
            topk=self.topk,
            target_modules=target_modules,
        )

    def counts(self, config: GPTConfig, n_classes: int) -> Counts | None:
        counts = super().counts(config, n_classes) or {}
        first = min(counts)  # whose first layer holds the bank
        return {**counts, first: counts[first] + self.vectors * gcd(self.vector_length, config.emb_dim)}

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * (inputs + outputs) // gcd(self.vector_length, min(inputs, outputs)) * self.vectors
