"""Strategy: LoRA adapters on linear layers of the blocks, with PEFT's options."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import nn

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Count, Rank, Share
from headtohead.core.model import GPTModel
from headtohead.core.search import Around, Choice, Search
from headtohead.core.strategy import Counts, LowRank
from headtohead.strategies._peft import PeftStrategy, plain_lora_layers

if TYPE_CHECKING:
    from peft import LoraConfig


@dataclass(frozen=True, kw_only=True)
class Lora(PeftStrategy):
    """Low-rank adapters on the six linear layers of every block, and the head.

    Parameters: L*r*18*D + D*C + C (four D x D layers and two D x 4D layers per block).
    At 124M: 2,655,746
    Learning rate: 8e-4, that of the book's appendix E, whose scale alpha / r is the one used here; on the
      demo 1e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch: results/zoo).
    Reference: Hu et al. (2021), LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685;
      init: Meng et al. (2024), PiSSA, arXiv:2404.02948; Bueyuekakyuez (2024), OLoRA, arXiv:2406.01775;
      rslora: Kalajdzievski (2023), arXiv:2312.03732.
    When: close to all layers in accuracy with a small file per task.
    """

    search: ClassVar[Search] = {"learning_rate": Around(), "r": Choice((4, 8))}  # of the ranks of Hu et al.

    learning_rate: float = 8e-4
    r: Rank = 16
    alpha: Count = 16
    dropout: Share = 0.0
    bias: Literal["none", "all", "lora_only"] = "none"
    rslora: bool = False
    init: Literal["default", "gaussian", "orthogonal", "pissa", "olora"] = "default"

    def config(self, model: GPTModel, target_modules: list[str]) -> "LoraConfig":
        from peft import LoraConfig

        return LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            bias=self.bias,
            use_rslora=self.rslora,
            init_lora_weights=True if self.init == "default" else self.init,
            target_modules=target_modules,
        )

    def low_rank(self, model: GPTModel) -> dict[nn.Module, LowRank]:
        return plain_lora_layers(model)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts | None:
        adapters = super().counts(config, n_classes) or {}
        biases = 9 * config.emb_dim if self.bias == "all" else 0  # those of six linear layers, adapted or not
        counts = {block: adapters.get(block, 0) + biases for block in range(config.n_layers)}
        return {block: count for block, count in counts.items() if count}

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.r * (inputs + outputs) + (outputs if self.bias == "lora_only" else 0)
