"""Strategy: a sparse subset of the weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Rank, Seed
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import ShiraConfig


@dataclass(frozen=True, kw_only=True)
class Shira(PeftStrategy):
    """A random sparse subset of the weights of every linear layer of the blocks, and the head.

    Parameters: L*r*18*D + D*C + C (as many as a LoRA of rank r, at places drawn once for all).
    At 124M: 2,655,746
    Learning rate: 1e-3; on the demo 3.2e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Bhardwaj et al. (2024), Sparse High Rank Adapters, arXiv:2406.13175.
    Seeds: the places follow from mask_seed and are the same in every run, because PEFT does not save them: the spread
      over seeds leaves their part out; mask_seed=1, 2 ... shows it.
    When: adapters should be switched fast, or several added with little interference.
    """

    learning_rate: float = 1e-3
    r: Rank = 16
    mask_seed: Seed = 0

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        if 2 * self.r > config.emb_dim:
            raise InputError(
                f"shira.r={self.r}: must be at most {config.emb_dim // 2}, half the model's width: "
                "then every weight of a layer is in the subset"
            )

    def config(self, model: GPTModel, target_modules: list[str]) -> "ShiraConfig":
        from peft import ShiraConfig

        return ShiraConfig(
            r=self.r,
            random_seed=self.mask_seed,  # PEFT does not save the places, so they must follow from a seed
            target_modules=target_modules,
        )

    def apply(self, model: GPTModel) -> None:
        import torch

        super().apply(model)
        torch.sparse.check_sparse_tensor_invariants.disable()  # the default; torch warns until it has been said

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * (inputs + outputs)
