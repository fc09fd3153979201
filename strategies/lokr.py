"""Strategy: Kronecker products as updates."""

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING

from headtohead.core.fields import Count, Rank
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import LoKrConfig


@dataclass(frozen=True, kw_only=True)
class Lokr(PeftStrategy):
    """A Kronecker product of a small matrix and a low-rank one on every linear layer of the blocks, and the head.

    Parameters: sum over the layers E x D of a*c + r*(b + d), + D*C + C (E = a*b and D = c*d, as square as can be,
      a <= b, c <= d; where r >= max(b, d) / 2, b*d stands for r*(b + d)).
    At 124M: 99,842
    Learning rate: 3e-3; on the demo 9.5e-3 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Yeh et al. (2023), Navigating Text-To-Image Customization (LyCORIS), arXiv:2309.14859.
    When: a very small file per task whose updates still have full rank.
    """

    learning_rate: float = 3e-3
    r: Rank = 8
    alpha: Count = 8

    def config(self, model: GPTModel, target_modules: list[str]) -> "LoKrConfig":
        from peft import LoKrConfig

        return LoKrConfig(
            r=self.r,
            alpha=self.alpha,
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        (c, d), (a, b) = _factors(inputs), _factors(outputs)
        return a * c + (b * d if self.r >= max(b, d) / 2 else self.r * (b + d))


def _factors(size: int) -> tuple[int, int]:
    """Two factors of a number, as near to each other as can be, the smaller first."""
    smaller = next(factor for factor in range(isqrt(size), 0, -1) if size % factor == 0)
    return smaller, size // smaller
