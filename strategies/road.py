"""Strategy: rotations of pairs of outputs."""

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING, ClassVar, Literal

from headtohead.core.fields import Count
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import RoadConfig


@dataclass(frozen=True, kw_only=True)
class Road(PeftStrategy):
    """A rotation and a scale for pairs of outputs of every linear layer of the blocks, and the head.

    Parameters: L*9*D*angles + D*C + C (an angle and a scale per pair of outputs; two or four times as many).
    At 124M: 84,482
    Learning rate: 1e-2, and 1e-3 for the head; on the demo 3.2e-2 was the best of five from 1e-3 to 1e-1
      (three seeds, one epoch: results/zoo).
    Reference: Liao and Monz (2024), 3-in-1: 2D Rotary Adaptation for Efficient Finetuning, arXiv:2409.00119.
    When: very few parameters, and batches that mix several tasks later.
    """

    family: ClassVar[str] = "orthogonal"

    learning_rate: float = 1e-2
    head_learning_rate: float | None = 1e-3
    weight_decay: float = 0.0  # it would pull the scales, which begin at 1, towards 0
    angles: Literal[1, 2, 4] = 1  # per pair of outputs: the variants road_1, road_2 and road_4
    group_size: Count = 64  # its greatest common divisor with D is taken

    def config(self, model: GPTModel, target_modules: list[str]) -> "RoadConfig":
        from peft import RoadConfig

        return RoadConfig(
            variant=f"road_{self.angles}",
            group_size=gcd(self.group_size, model.config.emb_dim),
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.angles * outputs
