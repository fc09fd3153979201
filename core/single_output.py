"""Two classes told apart by one number: a head with a single output, trained with binary cross-entropy.

With logits (0, z) the softmax of class 1 is the sigmoid of z, and cross-entropy is the binary cross-entropy of z: so
the head puts a zero before its output, and whatever reads class logits needs to know no more.
Shapes: B rows, D dims.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class SingleOutput(nn.Linear):
    """``Linear(D, 1)`` whose output z stands for the logits (0, z): (B, D) -> (B, 2)."""

    def __init__(self, emb_dim: int) -> None:
        super().__init__(emb_dim, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., D) -> (..., 2)."""
        return F.pad(super().forward(hidden), (1, 0))


def make_head(emb_dim: int, n_classes: int, outputs: int | None) -> nn.Linear:
    """A new classification head; ``outputs`` is 1 for a single one, None for one per class."""
    return SingleOutput(emb_dim) if outputs == 1 else nn.Linear(emb_dim, n_classes)
