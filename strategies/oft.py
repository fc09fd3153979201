"""Strategy: orthogonal rotations of the weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Range
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import OFTConfig


@dataclass(frozen=True, kw_only=True)
class Oft(PeftStrategy):
    """A block-diagonal rotation of the input of every linear layer of the blocks, and the head.

    Parameters: L*9*D*(block_size - 1)/2 + D*C + C (an angle for every two inputs of one block).
    At 124M: 1,287,170
    Learning rate: 1e-3; on the demo 1e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Qiu et al. (2023), Controlling Text-to-Image Diffusion by Orthogonal Finetuning, arXiv:2306.07280.
    When: the pretrained geometry of the neurons should be kept as it is.
    """

    family: ClassVar[str] = "orthogonal"

    learning_rate: float = 1e-3
    block_size: Annotated[int, Range(2, "emb_dim")] = 32

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        if config.emb_dim % self.block_size:
            raise InputError(
                f"oft.block_size={self.block_size}: must divide the model's width, {config.emb_dim}"
            )

    def config(self, model: GPTModel, target_modules: list[str]) -> "OFTConfig":
        from peft import OFTConfig

        return OFTConfig(
            oft_block_size=self.block_size,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return inputs * (self.block_size - 1) // 2
