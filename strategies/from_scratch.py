"""Strategy: every weight, from random ones."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.core.weights.random import initialise
from headtohead.strategies._counts import every_part


@dataclass(frozen=True, kw_only=True)
class FromScratch(Strategy):
    """Every weight, drawn anew as before pretraining: what is left is the architecture alone.

    Parameters: V*D + P*D + L*(12*D^2 + 13*D) + 2*D + D*C + C.
    At 124M: 124,441,346
    Learning rate: the chapter's, which its bonus experiment with random weights uses, too.
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), chapter 6, bonus experiments; drawn after
        Radford et al. (2019), Language Models are Unsupervised Multitask Learners.
    When: as a control: the distance to all_layers is what pretraining is worth.
    """

    family: ClassVar[str] = "selective"
    starts_at_pretrained: ClassVar[bool] = False

    def apply(self, model: GPTModel) -> None:
        for name, parameter in model.named_parameters():
            if not name.startswith("out_head"):  # the head is new in any case
                initialise(name, parameter, model.config.n_layers)
        unfreeze(model)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return every_part(config)
