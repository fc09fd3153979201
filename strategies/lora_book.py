"""Strategy: LoRA as the book writes it, the head among the layers that it adapts."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Rank, Scale
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, LowRank, Strategy
from headtohead.strategies._insert import replace_layers


class LoRALayer(nn.Module):
    """The update scale * x A B of a linear layer, with A (in, r) random and B (r, out) zero."""

    def __init__(self, in_dim: int, out_dim: int, r: int, scale: float) -> None:
        super().__init__()
        self.A = nn.Parameter(torch.empty(in_dim, r))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(r, out_dim))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x @ self.A @ self.B)


class LinearWithLoRA(nn.Module):
    """A frozen linear layer and its update."""

    def __init__(self, linear: nn.Linear, r: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.lora = LoRALayer(linear.in_features, linear.out_features, r, scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x) + self.lora(x)
        return y

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer with the update in its weight."""
        self.linear.weight.add_((self.lora.A @ self.lora.B).T, alpha=self.lora.scale)
        return self.linear


@dataclass(frozen=True, kw_only=True)
class LoraBook(Strategy):
    """Low-rank adapters on every linear layer, the random head included, which itself stays frozen.

    ``divide_by_r=false`` scales by alpha alone, as the book's package (llms-from-scratch 1.0.19) and its bonus
    experiments do, with learning_rate=5e-5: this repeats them, the order of the random numbers included.
    Parameters: L*r*18*D + r*(D + C).
    At 124M: 2,666,528
    Learning rate: 8e-4, that of the book's appendix E; on the demo 2.5e-3 was the best of five from 8e-5 to
      8e-3 (three seeds, one epoch: results/zoo).
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), appendix E; Hu et al. (2021),
        LoRA: Low-Rank Adaptation of Large Language Models, arXiv:2106.09685.
    When: to repeat the book; lora differs in that it trains the head and draws A smaller.
    """

    family: ClassVar[str] = "low-rank"
    trains_head: ClassVar[bool] = False
    merges: ClassVar[bool] = True

    learning_rate: float = 8e-4
    r: Rank = 16
    alpha: Scale = 16.0
    divide_by_r: bool = True

    def apply(self, model: GPTModel) -> None:
        scale = self.alpha / self.r if self.divide_by_r else self.alpha
        replace_layers(model, nn.Linear, lambda linear: LinearWithLoRA(linear, self.r, scale))

    def low_rank(self, model: GPTModel) -> dict[nn.Module, LowRank]:
        return {
            layer: LowRank(layer.linear, layer.lora.A.T, layer.lora.B.T, layer.lora.scale)
            for layer in model.modules()
            if isinstance(layer, LinearWithLoRA)
        }

    def merge(self, model: GPTModel) -> None:
        replace_layers(model, LinearWithLoRA, LinearWithLoRA.merged)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        r, width = self.r, config.emb_dim
        return {**dict.fromkeys(range(config.n_layers), r * 18 * width), "out_head": r * (width + n_classes)}
