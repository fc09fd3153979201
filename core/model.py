"""GPT-2 from scratch, with the attribute names of the book, and class logits at one position.

Source: "Build a Large Language Model (From Scratch)", chapters 3 and 4; the architecture is that of
Radford et al. (2019), "Language Models are Unsupervised Multitask Learners".
Shapes: B messages, T tokens, D = emb_dim, H heads, V tokens in the vocabulary, C classes.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.config import GPTConfig


class LayerNorm(nn.Module):
    """Layer normalisation over the last dimension, with the book's names ``scale`` and ``shift``."""

    def __init__(self, emb_dim: int) -> None:
        super().__init__()
        self.eps = 1e-5
        self.scale = nn.Parameter(torch.ones(emb_dim))
        self.shift = nn.Parameter(torch.zeros(emb_dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.scale.shape, self.scale, self.shift, self.eps)


class GELU(nn.Module):
    """The tanh approximation of GELU that GPT-2 was trained with."""

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")


class FeedForward(nn.Module):
    """The two-layer perceptron of a block: D -> 4D -> D."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.emb_dim, 4 * config.emb_dim),
            GELU(),
            nn.Linear(4 * config.emb_dim, config.emb_dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layers(x)
        return hidden


class MultiHeadAttention(nn.Module):
    """Self-attention, causal unless the config says otherwise, with separate query, key and value projections."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.num_heads = config.n_heads
        self.head_dim = config.emb_dim // config.n_heads
        self.causal = config.causal
        self.W_query = nn.Linear(config.emb_dim, config.emb_dim, bias=config.qkv_bias)
        self.W_key = nn.Linear(config.emb_dim, config.emb_dim, bias=config.qkv_bias)
        self.W_value = nn.Linear(config.emb_dim, config.emb_dim, bias=config.qkv_bias)
        self.out_proj = nn.Linear(config.emb_dim, config.emb_dim)
        self.dropout = nn.Dropout(config.drop_rate)

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, D/H)."""
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        queries = self.split_heads(self.W_query(x))
        keys = self.split_heads(self.W_key(x))
        values = self.split_heads(self.W_value(x))
        dropout = self.dropout.p if self.training else 0.0
        context = F.scaled_dot_product_attention(
            queries, keys, values, dropout_p=dropout, is_causal=self.causal
        )
        mixed: Tensor = self.out_proj(context.transpose(1, 2).flatten(2))  # (B, H, T, D/H) -> (B, T, D)
        return mixed


class TransformerBlock(nn.Module):
    """Pre-norm block: x + att(norm1(x)), then x + ff(norm2(x))."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.att = MultiHeadAttention(config)
        self.ff = FeedForward(config)
        self.norm1 = LayerNorm(config.emb_dim)
        self.norm2 = LayerNorm(config.emb_dim)
        self.drop_shortcut = nn.Dropout(config.drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_shortcut(self.att(self.norm1(x)))
        return x + self.drop_shortcut(self.ff(self.norm2(x)))


class GPTModel(nn.Module):
    """GPT-2: embeddings, ``n_layers`` blocks, a final norm and an output head without bias.

    The computation is the sequence of stages embed, block 0 .. L-1, final norm, head. A classifier is the
    same model whose ``out_head`` was replaced by ``Linear(emb_dim, n_classes)`` (see core.classifier).
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.strategy_state: dict[str, Any] = {}  # what a strategy keeps between its methods; not saved
        self.tok_emb = nn.Embedding(config.vocab_size, config.emb_dim)
        self.pos_emb = nn.Embedding(config.context_length, config.emb_dim)
        self.drop_emb = nn.Dropout(config.drop_rate)
        self.trf_blocks = nn.Sequential(*(TransformerBlock(config) for _ in range(config.n_layers)))
        self.final_norm = LayerNorm(config.emb_dim)
        self.out_head = nn.Linear(config.emb_dim, config.vocab_size, bias=False)

    def embed(self, token_ids: Tensor) -> Tensor:
        """Token plus position embeddings: (B, T) -> (B, T, D)."""
        positions = torch.arange(token_ids.shape[1], device=token_ids.device)
        embedded: Tensor = self.drop_emb(self.tok_emb(token_ids) + self.pos_emb(positions))
        return embedded

    def forward(self, token_ids: Tensor) -> Tensor:
        """Logits at every position: (B, T) -> (B, T, V), or (B, T, C) for a classifier."""
        logits: Tensor = self.out_head(self.final_norm(self.trf_blocks(self.embed(token_ids))))
        return logits

    def class_logits(self, token_ids: Tensor, position: Tensor | None) -> Tensor:
        """Logits at one position of each message: token_ids (B, T), position (B,) -> (B, C).

        Row by row the same as ``forward(token_ids)[:, position]``, without the head at the other positions. Without
        a position the head reads the mean over all positions, which for a linear head gives the mean of the logits.
        """
        hidden = self.final_norm(self.trf_blocks(self.embed(token_ids)))  # (B, T, D)
        if position is None:
            read = hidden.mean(dim=1)
        else:
            read = hidden[torch.arange(len(position), device=hidden.device), position]
        logits: Tensor = self.out_head(read)  # (B, D) -> (B, C)
        return logits


# What runs when a GPTModel is called, as it was when this module was imported: the methods of the classes that it is
# made of, and the functions that they call. A way of computing the same with less work asks whether they still are.
_CALLING = ("__call__", "_call_impl", "_wrapped_call_impl", "__getattr__", "forward")  # of every module
AS_DEFINED: dict[type[nn.Module], dict[str, Any]] = {
    nn.Module: {name: vars(nn.Module)[name] for name in _CALLING},
} | {
    kind: {name: value for name, value in vars(kind).items() if callable(value) and name != "__init__"}
    for kind in (
        GPTModel,
        TransformerBlock,
        MultiHeadAttention,
        FeedForward,
        LayerNorm,
        GELU,
        nn.Linear,
        nn.Embedding,
        nn.Dropout,
        nn.Sequential,
    )
}
FUNCTIONS = {
    name: getattr(F, name)
    for name in ("gelu", "layer_norm", "linear", "embedding", "dropout", "scaled_dot_product_attention")
}
