"""Strategy: from the head down, one more block per epoch."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.fields import Count
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, freeze, unfreeze
from headtohead.strategies._counts import block


@dataclass(frozen=True, kw_only=True)
class GradualUnfreezing(Strategy):
    """The head first, then with each epoch one more of the last blocks (the first together with the final norm).

    ``blocks=4`` is as far as one block per epoch gets in the chapter's five epochs; the paper goes on to the first
    layer (blocks=12 at 124M: shorter stages, or more epochs). The embeddings never train here.
    Parameters: min(blocks, L)*(12*D^2 + 13*D) + 2*D + D*C + C (all that train in the end).
    At 124M: 28,354,562
    Learning rate: the chapter's; on the demo 5e-4 was the best of five from 5e-5 to 5e-3 (three seeds, one
      epoch: results/zoo).
    Reference: Howard and Ruder (2018), Universal Language Model Fine-tuning for Text Classification, arXiv:1801.06146.
    When: a random head should settle before it disturbs pretrained blocks.
    """

    family: ClassVar[str] = "selective"

    blocks: Count = 4  # at most; with 5 epochs: one per epoch; with others, the stages are equally long, too

    def apply(self, model: GPTModel) -> None:
        """Mark all that will ever train, so that it is counted, optimised and saved."""
        self._unfreeze_last(model, self.blocks)

    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:
        """Freeze all but the head; the optimizer passes over parameters without a gradient."""
        freeze(model.trf_blocks, model.final_norm)
        model.strategy_state["total_steps"] = epochs * steps_per_epoch

    def after_step(self, model: GPTModel, step: int) -> None:
        """Unfreeze the blocks of the stage in which the next step lies."""
        stages = 1 + min(self.blocks, len(model.trf_blocks))
        stage = min((step + 1) * stages // model.strategy_state["total_steps"], stages - 1)
        if stage:
            self._unfreeze_last(model, stage)

    @staticmethod
    def _unfreeze_last(model: GPTModel, count: int) -> None:
        unfreeze(model.trf_blocks[-count:], model.final_norm)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        last = range(max(0, config.n_layers - self.blocks), config.n_layers)
        return {**dict.fromkeys(last, block(config)), "final_norm": 2 * config.emb_dim}
