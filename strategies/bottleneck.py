"""Strategy: bottleneck adapters inside every block, after Houlsby or after Pfeiffer."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Width
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._insert import blocks_of, replace_layer


class Adapted(nn.Module):
    """A linear layer followed by an adapter: y = linear(x), then y + up(gelu(down(y))); up begins at zero."""

    def __init__(self, linear: nn.Linear, width: int) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Linear(linear.out_features, width)
        self.up = nn.Linear(width, linear.out_features)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        adapted: Tensor = y + self.up(F.gelu(self.down(y)))
        return adapted


@dataclass(frozen=True, kw_only=True)
class Bottleneck(Strategy):
    """Small two-layer adapters behind attention and perceptron of every block, all norms, and the head.

    ``pfeiffer=true`` has one adapter per block, behind the perceptron, and leaves the norms frozen.
    Parameters: L*((2 - pfeiffer)*(2*D*width + width + D) + (1 - pfeiffer)*4*D) + (1 - pfeiffer)*2*D + D*C + C
        (pfeiffer counts as 1 where it is true).
    At 124M: 2,419,202
    Learning rate: 1e-3; on the demo 3.2e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Houlsby et al. (2019), Parameter-Efficient Transfer Learning for NLP, arXiv:1902.00751;
        Pfeiffer et al. (2021), AdapterFusion, arXiv:2005.00247.
    When: many tasks on one model and LoRA is not enough: the adapters are non-linear, but cannot be merged.
    """

    family: ClassVar[str] = "adapters"

    learning_rate: float = 1e-3
    width: Width = 64
    pfeiffer: bool = False

    def apply(self, model: GPTModel) -> None:
        for block in blocks_of(model):
            replace_layer(block.ff.layers, "2", lambda linear: Adapted(linear, self.width))
            if not self.pfeiffer:
                replace_layer(block.att, "out_proj", lambda linear: Adapted(linear, self.width))
                unfreeze(block.norm1, block.norm2)
        if not self.pfeiffer:
            unfreeze(model.final_norm)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        width, adapters = config.emb_dim, 1 if self.pfeiffer else 2
        block = adapters * (2 * width * self.width + self.width + width)
        if self.pfeiffer:
            return dict.fromkeys(range(config.n_layers), block)
        return {**dict.fromkeys(range(config.n_layers), block + 4 * width), "final_norm": 2 * width}
