"""Strategy: an adapter beside the perceptron of every block."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Scale, Width
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy
from headtohead.strategies._insert import blocks_of, replace_layer


class Widened(nn.Module):
    """A perceptron's first layer with ``width`` neurons more: (..., D) -> (..., 4D + width)."""

    def __init__(self, linear: nn.Linear, width: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.in_features, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.linear(x), self.down(x)], dim=-1)


class Narrowed(nn.Module):
    """Its second layer: (..., 4D + width) -> (..., D); what it adds for the new neurons begins at zero."""

    def __init__(self, linear: nn.Linear, width: int, scale: float) -> None:
        super().__init__()
        self.linear = linear
        self.up = nn.Linear(width, linear.out_features)
        self.scale = scale
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        own, added = hidden.split([self.linear.in_features, self.up.in_features], dim=-1)
        y: Tensor = self.linear(own) + self.scale * self.up(added)
        return y


@dataclass(frozen=True, kw_only=True)
class ParallelAdapter(Strategy):
    """An adapter beside the perceptron of every block, added to its output with a scale, and the head.

    Written as ``width`` more neurons of the perceptron itself, which is the same; so its activation is the model's
    GELU, where the paper has ReLU.
    Parameters: L*(2*D*width + width + D) + D*C + C.
    At 124M: 1,191,170
    Learning rate: 3e-4; on the demo 3e-3 was the best of five from 3e-5 to 3e-3, the edge (three seeds,
      one epoch: results/zoo).
    Reference: He et al. (2022), Towards a Unified View of Parameter-Efficient Transfer Learning, arXiv:2110.04366.
    When: in place of bottleneck adapters: the paper finds the parallel place better at equal size.
    """

    family: ClassVar[str] = "adapters"

    learning_rate: float = 3e-4
    width: Width = 64
    scale: Scale = 4.0

    def apply(self, model: GPTModel) -> None:
        for block in blocks_of(model):
            replace_layer(block.ff.layers, "0", lambda linear: Widened(linear, self.width))
            replace_layer(block.ff.layers, "2", lambda linear: Narrowed(linear, self.width, self.scale))

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        width = config.emb_dim
        return dict.fromkeys(range(config.n_layers), 2 * width * self.width + self.width + width)
