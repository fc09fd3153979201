"""Strategy: the token and position embeddings."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze


@dataclass(frozen=True, kw_only=True)
class Embeddings(Strategy):
    """The token and position embeddings, and the head.

    Parameters: V*D + P*D + D*C + C (V tokens, P positions).
    At 124M: 39,385,346
    Learning rate: 1e-3; on the demo 1e-3 was the best of five from 1e-4 to 1e-2 (three seeds, one epoch:
      results/zoo).
    Reference: none; the input side's counterpart of the head.
    When: the messages use words that the pretrained model hardly knows; otherwise as a control.
    """

    family: ClassVar[str] = "selective"

    learning_rate: float = 1e-3

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.tok_emb, model.pos_emb)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {
            "tok_emb": config.vocab_size * config.emb_dim,
            "pos_emb": config.context_length * config.emb_dim,
        }
