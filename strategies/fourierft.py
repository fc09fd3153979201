"""Strategy: sparse spectra of the updates."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Count, Scale, Seed
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy

if TYPE_CHECKING:
    from peft import FourierFTConfig


@dataclass(frozen=True, kw_only=True)
class Fourierft(PeftStrategy):
    """A few Fourier coefficients of the update of every linear layer of the blocks, and the head.

    Parameters: L*6*n + D*C + C (n coefficients per layer, at places that a fixed seed draws).
    At 124M: 73,538
    Learning rate: 1e-2; on the demo 1e-2 was the best of five from 1e-3 to 1e-1 (three seeds, one epoch:
      results/zoo).
    Reference: Gao et al. (2024), Parameter-Efficient Fine-Tuning with Discrete Fourier Transform, arXiv:2405.03003.
    Seeds: the places follow from places_seed and are the same in every run, because PEFT does not save them: the
      spread over seeds leaves their part out; places_seed=1, 2 ... shows it.
    When: the file per task must be tiny whatever the model's width.
    """

    learning_rate: float = 1e-2
    n: Count = 1000
    scaling: Scale = 150.0
    places_seed: Seed = 777  # PEFT's

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        if self.n > config.emb_dim**2:
            raise InputError(
                f"fourierft.n={self.n}: must be at most {config.emb_dim**2}, the weights of the smallest layer"
            )

    def config(self, model: GPTModel, target_modules: list[str]) -> "FourierFTConfig":
        from peft import FourierFTConfig

        return FourierFTConfig(
            n_frequency=self.n,
            scaling=self.scaling,
            random_loc_seed=self.places_seed,
            init_weights=True,  # all coefficients zero; PEFT's default draws them, which is not the pretrained model
            target_modules=target_modules,
        )

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.n
