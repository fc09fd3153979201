"""Strategy: the first n transformer blocks, as a control for the last n."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.strategies._counts import block


@dataclass(frozen=True, kw_only=True)
class FirstNBlocks(Strategy):
    """The first n transformer blocks, the final norm and the head: as many numbers as the last n blocks.

    Parameters: n*(12*D^2 + 13*D) + 2*D + D*C + C (blocks, final norm, head).
    At 124M: 14,178,818
    Learning rate: the chapter's, for a fair comparison with the last n blocks.
    Reference: Lee et al. (2022), Surgical Fine-Tuning Improves Adaptation to Distribution Shifts, arXiv:2210.11466.
    When: as a control: it should lose to last_n_blocks, unless only the kind of input has changed.
    """

    family: ClassVar[str] = "selective"

    n: int = 2

    def apply(self, model: GPTModel) -> None:
        n_blocks = len(model.trf_blocks)
        if not 1 <= self.n <= n_blocks:
            raise InputError(
                f"first_n_blocks@n={self.n}: the model has {n_blocks} blocks; use n=1 to n={n_blocks}"
            )
        unfreeze(model.trf_blocks[: self.n], model.final_norm)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {**dict.fromkeys(range(self.n), block(config)), "final_norm": 2 * config.emb_dim}
