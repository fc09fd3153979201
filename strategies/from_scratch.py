"""Strategy: every weight, from random ones."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, unfreeze
from headtohead.core.weights.random import initialise
from headtohead.strategies._counts import every_part


@dataclass(frozen=True, kw_only=True)
class FromScratch(Strategy):
    """Every weight, drawn anew as before pretraining: what is left is the architecture alone.

    Drawn as GPT-2 was: with standard deviation 0.02, by 1/sqrt(2*L) smaller where a block writes back. ``init=torch``
    draws as torch does by itself, which is what the book's bonus experiment with random weights (93.67 %) starts from.
    Parameters: V*D + P*D + L*(12*D^2 + 13*D) + 2*D + D*C + C.
    At 124M: 124,441,346
    Learning rate: the chapter's, which its bonus experiment with random weights uses, too; on the demo 2e-4
      was the best of five from 2e-5 to 2e-3 (three seeds, one epoch: results/zoo).
    Reference: Raschka (2024), Build a Large Language Model (From Scratch), chapter 6, bonus experiments; drawn after
        Radford et al. (2019), Language Models are Unsupervised Multitask Learners.
    When: as a control: the distance to all_layers is what pretraining is worth.
    """

    family: ClassVar[str] = "selective"
    starts_at_pretrained: ClassVar[bool] = False

    init: Literal["gpt2", "torch"] = "gpt2"

    def apply(self, model: GPTModel) -> None:
        if self.init == "torch":
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.Embedding) and module is not model.out_head:
                    module.reset_parameters()
        for name, parameter in model.named_parameters():
            norm = name.endswith((".scale", ".shift"))
            if not name.startswith("out_head") and (
                self.init == "gpt2" or norm
            ):  # the head is new in any case
                initialise(name, parameter, model.config.n_layers)
        unfreeze(model)

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return every_part(config)
