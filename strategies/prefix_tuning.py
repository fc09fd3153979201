"""Strategy: learned keys and values before those of the text, in every block."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Range
from headtohead.core.model import GPTModel, MultiHeadAttention
from headtohead.core.strategy import Counts, Strategy
from headtohead.strategies._insert import blocks_of


class PrefixAttention(nn.Module):
    """Self-attention in which every token also sees P learned keys and values."""

    def __init__(self, attention: MultiHeadAttention, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.attention = attention
        self.prefix_keys = nn.Parameter(keys)  # (P, D)
        self.prefix_values = nn.Parameter(values)  # (P, D)

    def forward(self, x: Tensor) -> Tensor:
        attention, batch, length = self.attention, len(x), x.shape[1]
        queries = attention.split_heads(attention.W_query(x))  # (B, H, T, D/H)
        keys = torch.cat([self.prefix_keys.expand(batch, -1, -1), attention.W_key(x)], dim=1)  # (B, P + T, D)
        values = torch.cat([self.prefix_values.expand(batch, -1, -1), attention.W_value(x)], dim=1)
        # Token t sees all P of the prefix and the text up to itself, or all of it without a causal mask.
        seen = torch.ones(length, keys.shape[1], dtype=torch.bool, device=x.device)
        seen = seen.tril(len(self.prefix_keys)) if attention.causal else seen
        dropout = attention.dropout.p if self.training else 0.0
        context = F.scaled_dot_product_attention(
            queries,
            attention.split_heads(keys),
            attention.split_heads(values),
            attn_mask=seen,
            dropout_p=dropout,
        )
        mixed: Tensor = attention.out_proj(context.transpose(1, 2).flatten(2))
        return mixed


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(Strategy):
    """Learned keys and values that every token of every block attends to, and the head.

    They begin as the keys and values of random tokens of the vocabulary, which the paper finds best for small data,
    and are trained directly, without the paper's perceptron that produces them. Those first values are computed at
    positions 0 to tokens - 1, and the text has the positions from 0, too: it stays as it was pretrained (the paper's
    code and PEFT put the text behind the prefix, at positions from tokens on).
    Parameters: 2*L*tokens*D + D*C + C.
    At 124M: 370,178
    Learning rate: 1e-2; on the demo 3.2e-3 was the best of five from 1e-3 to 1e-1 (three seeds, one epoch:
      results/zoo).
    Reference: Li and Liang (2021), Prefix-Tuning: Optimizing Continuous Prompts for Generation, arXiv:2101.00190.
    When: prompt tuning is too weak and no weight may change; the text keeps its positions and its context.
    """

    family: ClassVar[str] = "prompts"
    starts_at_pretrained: ClassVar[bool] = False

    learning_rate: float = 1e-2
    tokens: Annotated[int, Range(1, "context_length")] = 20

    @torch.no_grad()
    def apply(self, model: GPTModel) -> None:
        hidden = model.embed(torch.randint(model.config.vocab_size, (1, self.tokens)))  # (1, P, D)
        for block in blocks_of(model):
            following = block(hidden)
            normalized = block.norm1(hidden)[0]
            keys, values = block.att.W_key(normalized), block.att.W_value(normalized)
            setattr(block, "att", PrefixAttention(block.att, keys, values))  # noqa: B010 - its declared type is another
            hidden = following

    def weight_decay_of(self, name: str) -> float:
        return 0.0 if "prefix_" in name else self.weight_decay  # keys and values have no reason to be near 0

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return dict.fromkeys(range(config.n_layers), 2 * self.tokens * config.emb_dim)
