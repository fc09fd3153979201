"""What the model learns: the next token, and at the end of text a word of the message, by sampled softmax.

The softmax over all rows would cost more than the rest of this small model. Its sum runs over the most frequent
rows exactly and over a sample of the others weighted by one over its expected count: the importance sampling
of Jean, Cho, Memisevic, Bengio (2015), "On Using Very Large Target Vocabulary for Neural Machine Translation".
Shapes: N positions, D = emb_dim, R rows of the reduced vocabulary, K candidates.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

FREQUENT_ROWS = 2048  # four of five tokens are among them
SAMPLED_ROWS = 1024
POSITIONS_AT_ONCE = 128


class SampledSoftmax:
    """Cross-entropy against a sample of the vocabulary; draws are the caller's, so a run can be repeated."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.frequent = min(FREQUENT_ROWS, len(counts))
        tail = np.sqrt(counts[self.frequent :] + 1.0)  # flatter than the text, steeper than a uniform draw
        self.sampled = SAMPLED_ROWS if len(tail) else 0
        self.probabilities = tail / tail.sum() if len(tail) else tail
        self.cumulative = np.cumsum(self.probabilities)

    def draw(self, random: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Candidates (K,) and log weights (K,): the frequent rows, then a sample with repetition of the rest."""
        places = np.searchsorted(self.cumulative, random.random(self.sampled))
        places = np.minimum(places, max(len(self.cumulative) - 1, 0))  # rounding may pass the last one
        candidates = np.concatenate([np.arange(self.frequent), self.frequent + places])
        expected = self.sampled * self.probabilities[places] if self.sampled else np.empty(0)
        log_weights = np.concatenate([np.zeros(self.frequent), -np.log(expected)])
        return torch.from_numpy(candidates), torch.from_numpy(log_weights.astype(np.float32))

    def __call__(
        self, hidden: Tensor, table: Tensor, targets: Tensor, random: np.random.Generator, half: bool
    ) -> tuple[Tensor, Tensor]:
        """Mean loss in nats, and without gradient that of each position (N,).

        Args:
            hidden: (N, D). table: (R, D) embeddings. targets: (N,) rows. half: products in bfloat16.
        """
        candidates, log_weights = self.draw(random)
        own = (hidden * table[targets]).sum(-1)  # (N,) logits of the targets
        mean: Tensor
        losses: Tensor
        mean, losses = _MeanLoss.apply(  # type: ignore[no-untyped-call]
            hidden, table[candidates], own, log_weights, candidates, targets, self.frequent, half
        )
        return mean, losses


class _MeanLoss(torch.autograd.Function):
    """The mean of -log(exp(own) / (exp(own) + sum of the weighted others)), and the loss of each position (N,).

    The gradient is worked out at once, some positions at a time: the (N, K) logits, at 50 MB the largest values
    by far, then never leave the processor's cache.
    """

    @staticmethod
    def forward(
        context: Any, hidden: Tensor, rows: Tensor, own: Tensor, log_weights: Tensor, candidates: Tensor,
        targets: Tensor, frequent: int, half: bool,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        kind = torch.bfloat16 if half else torch.float32
        hidden, rows = hidden.to(kind), rows.to(kind)
        others, to_hidden, to_rows = (
            torch.empty_like(own),
            own.new_empty(hidden.shape),
            own.new_zeros(rows.shape),
        )
        for start in range(0, len(own), POSITIONS_AT_ONCE):
            part = slice(start, start + POSITIONS_AT_ONCE)
            logits = (hidden[part] @ rows.T).float().add_(log_weights)  # (n, K)
            _hide_targets(logits, targets[part], candidates, frequent)
            largest = logits.amax(-1, keepdim=True)
            shares = logits.sub_(largest).exp_()
            total = shares.sum(-1, keepdim=True)
            others[part] = (total.log() + largest).squeeze(-1)
            share_of_others = torch.sigmoid(others[part] - own[part]) / len(own)
            gradient = shares.mul_(share_of_others[:, None] / total).to(kind)  # of the mean, by the logits
            to_hidden[part] = (gradient @ rows).float()
            to_rows += (gradient.T @ hidden[part]).float()
        losses = F.softplus(others - own)
        context.save_for_backward(to_hidden, to_rows, torch.sigmoid(others - own) / -len(own))
        context.mark_non_differentiable(losses)
        return losses.mean(), losses

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_inputs = (gradients[0] * gradient for gradient in context.saved_tensors)
        return *by_inputs, None, None, None, None, None


def _hide_targets(logits: Tensor, targets: Tensor, candidates: Tensor, frequent: int) -> None:
    """Take each position's target out of its candidates, in place: it counts once and exactly, elsewhere."""
    common = torch.nonzero(targets < frequent).squeeze(-1)
    logits[common, targets[common]] = -torch.inf  # candidate i is row i there
    logits[:, frequent:].masked_fill_(candidates[frequent:] == targets[:, None], -torch.inf)


def full_softmax(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """The exact loss in nats, over every row, in pieces that fit the memory: (N, D), (R, D), (N,) -> (N,)."""
    parts = zip(hidden.split(POSITIONS_AT_ONCE), targets.split(POSITIONS_AT_ONCE), strict=True)
    return torch.cat([F.cross_entropy(part @ table.T, wanted, reduction="none") for part, wanted in parts])
