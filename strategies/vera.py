"""Strategy: shared random projections with trained scales."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.fields import Seed, Width
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import VeraConfig


@dataclass(frozen=True, kw_only=True)
class Vera(PeftStrategy):
    """Two scaling vectors per linear layer around random projections that all layers share, and the head.

    Parameters: L*(6*r + 9*D) + D*C + C (a vector of r and one per output of each layer).
    At 124M: 102,914
    Learning rate: 1e-2; a wide head needs less, so it has its own; on the demo 3.2e-2 was the best of five
      from 1e-3 to 1e-1 (three seeds, one epoch: results/zoo).
    Reference: Kopiczko et al. (2023), VeRA: Vector-based Random Matrix Adaptation, arXiv:2310.11454.
    Seeds: the projections follow from projection_seed and are the same in every run, so that no file
      holds them: the spread over seeds leaves their part out; projection_seed=1, 2 ... shows it.
    When: the file per task must be ten times smaller than LoRA's.
    """

    learning_rate: float = 1e-2
    head_learning_rate: float | None = 1e-3
    r: Width = 256
    projection_seed: Seed = 0

    def config(self, model: GPTModel, target_modules: list[str]) -> "VeraConfig":
        from peft import VeraConfig

        return VeraConfig(
            r=self.r,
            projection_prng_key=self.projection_seed,
            target_modules=target_modules,
        )

    def weight_decay_of(self, name: str) -> float:
        return (
            0.0 if "vera_lambda_d" in name else self.weight_decay
        )  # it begins at 0.1 and scales the whole update

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r + outputs
