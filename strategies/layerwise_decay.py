"""Strategy: every weight, with a learning rate that falls with the distance from the head."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Range
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, part_of, unfreeze
from headtohead.strategies._counts import every_part


@dataclass(frozen=True, kw_only=True)
class LayerwiseDecay(Strategy):
    """Every weight, each block with a smaller learning rate than the one above it.

    The last block is one factor below the head, the embeddings L + 1; in ELECTRA's code, two and L + 2.
    Parameters: V*D + P*D + L*(12*D^2 + 13*D) + 2*D + D*C + C (all of them).
    At 124M: 124,441,346
    Learning rate: 1e-4 for the head and a factor of 0.8 per block, those of ELECTRA-Base (Clark et al.,
      2020, arXiv:2003.10555), which has 124M's blocks and width; on the demo 1e-3 was the best of five from
      1e-4 to 1e-2 (three seeds, one epoch: results/zoo).
    Reference: Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification, arXiv:1801.06146.
    When: all layers are to be trained, and the general knowledge of the lower ones should be kept.
    """

    family: ClassVar[str] = "selective"

    learning_rate: float = 1e-4
    decay: Annotated[float, Range(1e-3, 1)] = 0.8

    def apply(self, model: GPTModel) -> None:
        unfreeze(model)

    def learning_rate_of(self, name: str, config: GPTConfig) -> float:
        """Depth 0: the head and the final norm; 1: the last block; ...; L + 1: the embeddings."""
        part = part_of(name)
        if isinstance(part, int):
            return self.learning_rate * self.decay ** (config.n_layers - part)
        return self.learning_rate * self.decay ** (config.n_layers + 1 if part.endswith("_emb") else 0)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return every_part(config)
