"""Strategy: BitFit, the bias terms only."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy


@dataclass(frozen=True, kw_only=True)
class Bitfit(Strategy):
    """Every bias term (those of layer norms are called shift), and the head.

    Parameters: L*11*D + D + D*C + C (per block 4D in attention, 5D in the feed-forward layers, 2D in the norms).
    At 124M: 103,682
    Learning rate: 3e-3; on the demo 9.5e-4 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Ben Zaken et al. (2021), BitFit: Simple Parameter-efficient Fine-tuning, arXiv:2106.10199.
    When: few messages, a tiny file per task, and nothing may be inserted into the model.
    """

    family: ClassVar[str] = "selective"

    learning_rate: float = 3e-3
    weight_decay: float = 0.0  # it would pull the pretrained biases towards 0

    def apply(self, model: GPTModel) -> None:
        for name, parameter in model.named_parameters():
            if name.endswith((".bias", ".shift")):
                parameter.requires_grad_(True)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {**dict.fromkeys(range(config.n_layers), 11 * config.emb_dim), "final_norm": config.emb_dim}
