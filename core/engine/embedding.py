"""Training a token embedding by the rows that occur: the others get no gradient and only decay.

AdamW on a row without gradients keeps both moments at zero, so a step multiplies the row by
``1 - learning_rate * weight_decay`` and does nothing else. After t steps that is one power, applied at the end.
Of GPT-2's 50,257 rows some 5,800 occur in the SMS messages: a tenth of the optimizer's work and memory.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from headtohead.core.engine.sequences import Sequences
from headtohead.core.model import GPTModel


class CompactEmbedding:
    """While it is in place, ``model.tok_emb.weight`` holds only the rows that occur in ``sequences``."""

    def __init__(self, model: GPTModel, sequences: Sequences) -> None:
        self.model = model
        self._full = model.tok_emb.weight
        used, compact_ids = torch.unique(sequences.token_ids, return_inverse=True)
        self.used = used.to(self._full.device)
        self.shrink()
        self.sequences = replace(sequences, token_ids=compact_ids)

    def shrink(self) -> None:
        """Leave only the rows that occur in the model."""
        self.model.tok_emb.weight = nn.Parameter(self._full.detach()[self.used])

    @torch.no_grad()
    def expand(self, decay_per_step: float, steps: int) -> None:
        """Put all rows back: those that occur as trained, the others decayed."""
        weight: Tensor = self.model.tok_emb.weight
        self._full.mul_(decay_per_step**steps)
        self._full[self.used] = weight
        self.model.tok_emb.weight = self._full

    def all_rows(self, gradient: Tensor) -> Tensor:
        """The gradient of the whole weight, from that of the rows that occur."""
        whole = torch.zeros_like(self._full)
        whole[self.used] = gradient
        return whole


def decay_per_step(optimizer: torch.optim.Optimizer, parameter: Tensor) -> float:
    """What AdamW multiplies a parameter without gradients by at every step."""
    for group in optimizer.param_groups:
        if any(candidate is parameter for candidate in group["params"]):
            return 1.0 - float(group["lr"]) * float(group["weight_decay"])
    return 1.0  # not in the optimizer: never moved
