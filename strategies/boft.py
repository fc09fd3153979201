"""Strategy: orthogonal rotations with a scale."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Range
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import BOFTConfig


@dataclass(frozen=True, kw_only=True)
class Boft(PeftStrategy):
    """A block-diagonal rotation and a scale per output for every linear layer of the blocks, and the head.

    Parameters: L*9*D*(block_size + 1) + D*C + C (a matrix per block_size of the 9*D inputs of a block; as many scales).
    At 124M: 416,258
    Learning rate: 1e-3, that of oft here; on the demo 3.2e-3 was the best of five from 1e-4 to 1e-2 (three
      seeds, one epoch: results/zoo).
    Reference: Liu et al. (2023), Parameter-Efficient Orthogonal Finetuning via Butterfly Factorization,
      arXiv:2311.06243.
    When: rotations alone, as in oft, are too strict: the outputs may be scaled, too.
    """

    family: ClassVar[str] = "orthogonal"

    learning_rate: float = 1e-3
    weight_decay: float = 0.0  # it would pull the scales, which begin at 1, towards 0
    block_size: Annotated[int, Range(2, "emb_dim")] = 4

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        if config.emb_dim % self.block_size:
            raise InputError(
                f"boft.block_size={self.block_size}: must divide the model's width, {config.emb_dim}"
            )

    def config(self, model: GPTModel, target_modules: list[str]) -> "BOFTConfig":
        from peft import BOFTConfig

        return BOFTConfig(
            boft_block_size=self.block_size,
            target_modules=target_modules,
        )

    def apply(self, model: GPTModel) -> None:
        with warnings.catch_warnings():
            # PEFT looks for a CUDA kernel that only butterflies of several factors need; there is one factor here.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"peft\.tuners\.boft")
            super().apply(model)

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.block_size * inputs + outputs
