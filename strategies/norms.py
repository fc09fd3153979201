"""Strategy: the scales and shifts of all layer norms."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel, LayerNorm
from headtohead.core.strategy import Counts, Strategy, unfreeze


@dataclass(frozen=True, kw_only=True)
class Norms(Strategy):
    """The scale and shift of every layer norm, and the head.

    Parameters: L*4*D + 2*D + D*C + C (two norms per block, the final norm, the head).
    At 124M: 39,938
    Learning rate: 3e-3; the head of a wider model needs less than that of the demo; on the demo 9.5e-3 was
      the best of five from 3e-4 to 3e-2 (three seeds, one epoch: results/zoo).
    Reference: Zhao et al. (2023), Tuning LayerNorm in Attention, arXiv:2312.11420.
    When: the file per task must be tiny, and nothing may be inserted into the model.
    """

    family: ClassVar[str] = "selective"

    learning_rate: float = 3e-3
    weight_decay: float = 0.0  # it would pull the scales towards 0

    def apply(self, model: GPTModel) -> None:
        unfreeze(*(module for module in model.modules() if isinstance(module, LayerNorm)))

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        width = config.emb_dim
        return {**dict.fromkeys(range(config.n_layers), 4 * width), "final_norm": 2 * width}
