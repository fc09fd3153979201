"""Strategy: a narrow side network along the frozen model, a ladder of which every rung reads one block."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Count
from headtohead.core.model import GPTModel, TransformerBlock
from headtohead.core.strategy import Counts, Strategy

TEMPERATURE = 0.1  # of the gates, as in the paper


class Rung(nn.Module):
    """A frozen block and a narrow trained one beside it, which mixes the block's output into its own state.

    The state begins as the embeddings, narrowed, and travels behind the model's hidden state, so that nothing is
    remembered between two calls: the first rung takes (B, T, D), the last returns (B, T, D), between them it is
    (B, T, D + side).
    """

    def __init__(self, block: nn.Module, side: GPTConfig, emb_dim: int, *, first: bool, last: bool) -> None:
        super().__init__()
        self.block = block
        self.emb_dim = emb_dim
        self.down = nn.Linear(emb_dim, side.emb_dim, bias=False)
        self.side_block = TransformerBlock(side)
        self.entry = nn.Linear(emb_dim, side.emb_dim, bias=False) if first else None
        self.gate = nn.Parameter(torch.zeros(()))
        self.up = nn.Linear(side.emb_dim, emb_dim, bias=False) if last else None
        if self.up is not None:
            nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():  # no backward pass through the frozen model
            hidden = self.block(x[..., : self.emb_dim])
        before = x[..., self.emb_dim :] if self.entry is None else self.entry(x)
        share = torch.sigmoid(self.gate / TEMPERATURE)
        state = self.side_block(share * self.down(hidden) + (1 - share) * before)
        out: Tensor = torch.cat([hidden, state], dim=-1) if self.up is None else hidden + self.up(state)
        return out


@dataclass(frozen=True, kw_only=True)
class SideTuning(Strategy):
    """A narrow transformer beside the frozen one, fed by its embeddings and all its blocks, and the head.

    Parameters: L*(D*S + 12*S^2 + 10*S + 1) + 2*D*S + D*C + C with S = D//reduction, the side network's width.
    At 124M: 2,372,366
    Learning rate: 3e-3; on the demo 9.5e-4 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Sung et al. (2022), LST: Ladder Side-Tuning for Parameter and Memory Efficient Transfer Learning,
        arXiv:2206.06522 (there the side network begins as a pruned copy of the model; here at random).
    When: memory is scarce: nothing is remembered of the frozen model for the backward pass.
    """

    family: ClassVar[str] = "adapters"

    learning_rate: float = 3e-3
    reduction: Count = 8

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        width = config.emb_dim // self.reduction
        if width == 0 or width % config.n_heads:
            raise InputError(
                f"side_tuning.reduction={self.reduction}: {config.emb_dim} dims / reduction must be a multiple of the "
                f"{config.n_heads} heads"
            )

    def apply(self, model: GPTModel) -> None:
        config = model.config
        width = config.emb_dim // self.reduction
        side = GPTConfig(emb_dim=width, n_heads=config.n_heads, qkv_bias=False, causal=config.causal)
        last = len(model.trf_blocks) - 1
        for index, block in enumerate(model.trf_blocks):
            model.trf_blocks[index] = Rung(block, side, config.emb_dim, first=index == 0, last=index == last)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        width, side = config.emb_dim, config.emb_dim // self.reduction
        rungs: Counts = dict.fromkeys(range(config.n_layers), width * side + 12 * side**2 + 10 * side + 1)
        for end in (0, config.n_layers - 1):  # what enters at the embeddings, and what is added in the end
            rungs[end] += width * side
        return rungs
