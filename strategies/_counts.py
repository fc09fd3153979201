"""Closed forms that several strategies share: how many numbers are in the parts of a GPT-2."""

from headtohead.core.config import GPTConfig
from headtohead.core.strategy import Counts


def block(config: GPTConfig) -> int:
    """A transformer block: 4D^2 + 4D in attention, 8D^2 + 5D in the perceptron, 4D in the norms."""
    return 12 * config.emb_dim**2 + 13 * config.emb_dim


def every_part(config: GPTConfig) -> Counts:
    """Embeddings, all blocks and the final norm."""
    return {
        "tok_emb": config.vocab_size * config.emb_dim,
        "pos_emb": config.context_length * config.emb_dim,
        **dict.fromkeys(range(config.n_layers), block(config)),
        "final_norm": 2 * config.emb_dim,
    }
