"""Strategy: Householder reflections of the weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from headtohead.core.fields import Range
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import HRAConfig


@dataclass(frozen=True, kw_only=True)
class Hra(PeftStrategy):
    """A chain of r Householder reflections of the input of every linear layer of the blocks, and the head.

    Parameters: L*r*9*D + D*C + C (r vectors of the size of each layer's input).
    At 124M: 665,090
    Learning rate: 3e-3; on the demo 3e-3 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Yuan et al. (2024), Bridging The Gap between Low-rank and Orthogonal Adaptation, arXiv:2405.17484.
    When: an orthogonal method with as few parameters as a LoRA of the same r; r must be even.
    """

    family: ClassVar[str] = "orthogonal"

    learning_rate: float = 3e-3
    r: Annotated[int, Range(2, "emb_dim", step=2)] = 8

    def config(self, model: GPTModel, target_modules: list[str]) -> "HRAConfig":
        from peft import HRAConfig

        return HRAConfig(
            r=self.r,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * inputs
