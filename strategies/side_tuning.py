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

    The side state travels behind the model's hidden state, so that nothing is remembered between two calls:
    the first rung takes (B, T, D), the last returns (B, T, D), between them it is (B, T, D + side).
    """

    def __init__(self, block: nn.Module, side: GPTConfig, emb_dim: int, *, first: bool, last: bool) -> None:
        super().__init__()
        self.block = block
        self.emb_dim = emb_dim
        self.down = nn.Linear(emb_dim, side.emb_dim, bias=False)
        self.side_block = TransformerBlock(side)
        self.gate = None if first else nn.Parameter(torch.zeros(()))
        self.up = nn.Linear(side.emb_dim, emb_dim, bias=False) if last else None
        if self.up is not None:
            nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():  # no backward pass through the frozen model
            hidden = self.block(x[..., : self.emb_dim])
        state = self.down(hidden)
        if self.gate is not None:
            share = torch.sigmoid(self.gate / TEMPERATURE)
            state = share * state + (1 - share) * x[..., self.emb_dim :]
        state = self.side_block(state)
        out: Tensor = torch.cat([hidden, state], dim=-1) if self.up is None else hidden + self.up(state)
        return out


@dataclass(frozen=True, kw_only=True)
class SideTuning(Strategy):
    """A narrow transformer beside the frozen one, fed by each of its blocks and added to its output, and the head.

    Parameters: L*(D*(D//reduction) + 12*(D//reduction)^2 + 10*(D//reduction)) + (L - 1) + D*(D//reduction) + D*C + C.
    At 124M: 2,298,637
    Learning rate: 3e-3, the best of 3e-4, 1e-3, 3e-3 and 1e-2 on the demo (one seed, 4 epochs).
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
        side = GPTConfig(emb_dim=width, n_heads=config.n_heads, qkv_bias=False)
        last = len(model.trf_blocks) - 1
        for index, block in enumerate(model.trf_blocks):
            model.trf_blocks[index] = Rung(block, side, config.emb_dim, first=index == 0, last=index == last)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        width, side = config.emb_dim, config.emb_dim // self.reduction
        rungs: Counts = {
            block: width * side + 12 * side**2 + 10 * side + (block > 0) for block in range(config.n_layers)
        }
        return {**rungs, config.n_layers - 1: rungs[config.n_layers - 1] + width * side}
