"""A transformer block as the engine computes it: all tokens of a batch, or the last token of each sequence only.

Both compute what ``core.model.TransformerBlock`` computes, in another order of operations.
Shapes: n tokens of B sequences, D dims, H heads of size D/H, T the longest sequence.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.engine.half import HalfInput
from headtohead.core.engine.linear import SharedInput, Updates, bias_of, effective_weight
from headtohead.core.engine.products import MKL, Products
from headtohead.core.engine.recompute import recomputed
from headtohead.core.engine.sequences import Layout
from headtohead.core.model import GPTModel, LayerNorm, TransformerBlock


class EngineBlock:
    """One block of the model, by reference: its parameters stay the model's.

    Args:
        block: the block as it stands in the model, inserted layers included.
        updates: declared low-rank updates by module (empty: layers are called as they are).
        frozen: nothing in the block is trained.
        associative: at the last position, never build keys and values where the weights allow it.
        products: which library computes matrix products in float32.
        half: linear layers and the perceptron in bfloat16; attention, norms and sums stay in float32.
    """

    def __init__(
        self,
        block: TransformerBlock,
        updates: Updates,
        *,
        frozen: bool,
        associative: bool,
        products: Products = MKL,
        half: bool = False,
    ) -> None:
        self.block = block
        self.updates = updates
        self.associative = associative
        attention, layers = block.att, block.ff.layers
        self.qkv, self.mix, self.expand, self.contract = (
            HalfInput(modules, updates)
            if half
            else SharedInput(modules, updates, frozen=frozen, products=products)
            for modules in (
                [attention.W_query, attention.W_key, attention.W_value],
                [attention.out_proj],
                [layers[0]],
                [layers[2]],
            )
        )

    def compile(self, device: str) -> None:
        """Compute by ``torch.compile``; on CUDA the launches of a block become one graph where torch can do it."""
        mode = "reduce-overhead" if device.startswith("cuda") else None
        self.all_tokens = torch.compile(self.all_tokens, mode=mode)  # type: ignore[method-assign]
        self.last_token = torch.compile(self.last_token, mode=mode)  # type: ignore[method-assign]

    def recompute(self) -> None:
        """Keep nothing of a block for the backward pass but what goes into it."""
        self.all_tokens = recomputed(self.all_tokens)  # type: ignore[method-assign]
        self.last_token = recomputed(self.last_token)  # type: ignore[method-assign]

    def parameters_changed(self) -> None:
        """Weights merged for the last step are stale."""
        for linears in (self.qkv, self.mix, self.expand, self.contract):
            linears.parameters_changed()

    def all_tokens(self, x: Tensor, layout: Layout) -> Tensor:
        """(n, D) -> (n, D), as the block itself computes it."""
        # Attention in float32: measured three times as fast as in bfloat16, for which torch has no such kernel.
        queries, keys, values = (each.float() for each in self.qkv(self.block.norm1(x)))
        context = self._attend(queries, keys, values, layout)
        return self._feed_forward(x + self.mix(context)[0])

    def _feed_forward(self, x: Tensor) -> Tensor:
        hidden = self.block.ff.layers[1](self.expand(self.block.norm2(x))[0])
        return x + self.contract(hidden)[0]

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, layout: Layout) -> Tensor:
        split = self.block.att.split_heads
        context = F.scaled_dot_product_attention(
            split(layout.pad(queries)),
            split(layout.pad(keys)),
            split(layout.pad(values)),
            is_causal=self.block.att.causal,
        )
        return layout.flatten(context.transpose(1, 2).flatten(2))  # (B, H, T, D/H) -> (n, D)

    def last_token(self, normalized: Tensor, at: Tensor, ended: Tensor | None) -> Tensor:
        """The block's output at the one token of each sequence that is read, which sees all of them.

        Args:
            normalized: (B, T, D) the block's input after :meth:`normalize`, padded.
            at: (B, D) the block's input at the tokens that are read, not normalised.
            ended: (B, T) True behind a sequence's end, or None.

        Returns:
            (B, D).
        """
        attention = self.block.att
        queries = self.qkv.one(attention.W_query, self.block.norm1(at)).float()
        queries = queries.unflatten(-1, (attention.num_heads, -1))  # (B, H, D/H)
        key_weight = effective_weight(attention.W_key, self.updates)
        value_weight = effective_weight(attention.W_value, self.updates)
        if self.associative and key_weight is not None and value_weight is not None:
            context = self._attend_by_weights(queries, normalized, ended, key_weight, value_weight)
        else:
            context = self._attend_by_keys(queries, normalized, ended)
        return self._feed_forward(at + self.mix(context.flatten(1))[0])

    def normalize(self, x: Tensor) -> Tensor:
        """The first norm of the block without its scale and shift, which may be trained: (..., D) -> (..., D).

        Where the norm is not the model's own, all of it.
        """
        norm = self.block.norm1
        return F.layer_norm(x, x.shape[-1:], eps=norm.eps) if type(norm) is LayerNorm else norm(x)

    def _scale_shift(self) -> tuple[Tensor, Tensor] | None:
        norm = self.block.norm1
        return (norm.scale, norm.shift) if type(norm) is LayerNorm else None

    def _attend_by_keys(self, queries: Tensor, normalized: Tensor, ended: Tensor | None) -> Tensor:
        """Keys and values of all tokens, through whatever layers stand there: -> (B, H, D/H)."""
        affine = self._scale_shift()
        tokens = normalized if affine is None else normalized * affine[0] + affine[1]
        attention = self.block.att
        keys, values = (
            attention.split_heads(layer(tokens)) for layer in (attention.W_key, attention.W_value)
        )
        weights = self._softmax(torch.einsum("bhd,bhtd->bht", queries, keys), ended)
        return torch.einsum("bht,bhtd->bhd", weights, values)

    def _attend_by_weights(
        self,
        queries: Tensor,
        normalized: Tensor,
        ended: Tensor | None,
        key_weight: Tensor,
        value_weight: Tensor,
    ) -> Tensor:
        """The same by associativity, without keys and values: -> (B, H, D/H).

        q . (W_k h_t) = (W_k^T q) . h_t, and sum_t a_t (W_v h_t) = W_v (sum_t a_t h_t): two products with (D, D)
        weights per sequence instead of two per token. The norm's scale and shift move to the other side, too; the
        shift adds the same to every score and so leaves the softmax as it is.
        """
        heads, affine = self.block.att.num_heads, self._scale_shift()
        by_head = key_weight.unflatten(0, (heads, -1))  # (H, D/H, D)
        directions = torch.einsum("bhd,hdc->bhc", queries, by_head)  # (B, H, D)
        if affine is not None:
            directions = directions * affine[0]
        scores = directions @ normalized.transpose(1, 2)  # (B, H, T)
        key_bias = bias_of(self.block.att.W_key, self.updates)
        if key_bias is not None:  # the same for every token; it keeps the bias in the graph, as in the book
            scores = scores + (queries * key_bias.unflatten(0, (heads, -1))).sum(-1, keepdim=True)
        mean = self._softmax(scores, ended) @ normalized  # (B, H, D)
        if affine is not None:
            mean = mean * affine[0] + affine[1]
        context = torch.einsum("bhc,hdc->bhd", mean, value_weight.unflatten(0, (heads, -1)))
        value_bias = bias_of(self.block.att.W_value, self.updates)
        return context if value_bias is None else context + value_bias.unflatten(0, (heads, -1))

    def _softmax(self, scores: Tensor, ended: Tensor | None) -> Tensor:
        """(B, H, T) scores of one query per head -> weights over the sequence's own tokens."""
        if ended is not None:
            scores = scores.masked_fill(ended[:, None], -math.inf)
        return (scores / math.sqrt(self.block.att.head_dim)).softmax(dim=-1)


def transformer_blocks(model: GPTModel) -> list[TransformerBlock]:
    """The model's blocks, all of which must be put together as the book's (``facts.py``)."""
    return [block for block in model.trf_blocks if isinstance(block, TransformerBlock)]
