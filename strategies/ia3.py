"""Strategy: IA3, trained scales of keys, values and the inner activations."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy, Target

if TYPE_CHECKING:
    from peft import IA3Config


@dataclass(frozen=True, kw_only=True)
class Ia3(PeftStrategy):
    """A scale for every key, every value and every inner activation of each block, and the head.

    Parameters: L*6*D + D*C + C (keys D, values D, inner activations 4D per block).
    At 124M: 56,834
    Learning rate: 1e-2; on the demo 1e-2 was the best of five from 1e-3 to 1e-1 (three seeds, one epoch:
      results/zoo).
    Reference: Liu et al. (2022), Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
      Learning, arXiv:2205.05638.
    When: few messages, and the smallest file per task.
    """

    family: ClassVar[str] = "scaling"

    learning_rate: float = 1e-2
    weight_decay: float = 0.0  # it would pull the scales, which begin at 1, towards 0
    targets: tuple[Target, ...] = ("W_key", "W_value", "layers.2")

    def config(self, model: GPTModel, target_modules: list[str]) -> "IA3Config":
        from peft import IA3Config

        # The layers whose input is scaled instead of their output.
        inner = [name for name in target_modules if name.endswith("layers.2")]
        return IA3Config(target_modules=target_modules, feedforward_modules=inner)

    def layer_count(self, inputs: int, outputs: int) -> int:
        return max(inputs, outputs)  # keys and values D, inner activations 4D
