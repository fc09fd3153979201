"""Strategy: block-circulant updates."""

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, ClassVar

from headtohead.core.fields import Count
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import C3AConfig


@dataclass(frozen=True, kw_only=True)
class C3a(PeftStrategy):
    """A block-circulant update of every linear layer of the blocks, and the head.

    Parameters: L*12*D^2/gcd(D, block_size) + D*C + C (b numbers stand for each block of b x b).
    At 124M: 333,314
    Learning rate: 3e-2; the head has its own; on the demo 3e-2 was the best of five from 3e-3 to 3e-1
      (three seeds, one epoch: results/zoo).
    Reference: Chen et al. (2024), Parameter-Efficient Fine-Tuning via Circular Convolution, arXiv:2407.19342.
    When: updates of high rank for few parameters.
    """

    # PEFT's backward pass mirrors the gradient of an adapted layer's input: a sum of w[i + k] instead of w[i - k].
    # What trains in lower blocks gets a slightly wrong gradient; that of the layer's own update is right.
    exact_gradients: ClassVar[bool] = False

    learning_rate: float = 3e-2
    head_learning_rate: float | None = 1e-3
    block_size: Count = 256  # its greatest common divisor with D is taken

    def config(self, model: GPTModel, target_modules: list[str]) -> "C3AConfig":
        from peft import C3AConfig

        return C3AConfig(
            block_size=gcd(self.block_size, model.config.emb_dim),
            init_weights=True,  # zero; PEFT's default draws them, which is not the pretrained model
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return inputs * outputs // gcd(self.block_size, min(inputs, outputs))
