"""Strategy: the first n transformer blocks, as a control for the last n."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Blocks
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._counts import block


@dataclass(frozen=True, kw_only=True)
class FirstNBlocks(Strategy):
    """The first n transformer blocks, the final norm and the head: as many numbers as the last n blocks.

    Parameters: n*(12*D^2 + 13*D) + 2*D + D*C + C (blocks, final norm, head).
    At 124M: 14,178,818
    Learning rate: the chapter's, for a fair comparison with the last n blocks; on the demo 5e-4 was the
      best of five from 5e-5 to 5e-3 (three seeds, one epoch: results/zoo).
    Reference: Lee et al. (2022), Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, arXiv:2210.11466.
    When: as a control: it should lose to last_n_blocks, unless only the kind of input has changed.
    """

    family: ClassVar[str] = "selective"

    n: Blocks = 2

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.trf_blocks[: self.n], model.final_norm)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {**dict.fromkeys(range(self.n), block(config)), "final_norm": 2 * config.emb_dim}
