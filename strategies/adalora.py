"""Strategy: AdaLoRA, low-rank adapters that share a budget of ranks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Count, Range, Rank, Share
from headtohead.core.model import GPTModel
from headtohead.strategies._peft import PeftStrategy, insert_adapter, target_names

if TYPE_CHECKING:
    from peft import AdaLoraConfig
    from peft.tuners.adalora import AdaLoraModel


@dataclass(frozen=True, kw_only=True)
class Adalora(PeftStrategy):
    """Adapters in the form of a singular value decomposition, pruned to a budget of ranks, and the head.

    Parameters: L*init_r*(18*D + 6) + D*C + C (a singular value per rank and layer; in the end those of target_r ranks
      per layer, on average, are other than zero).
    At 124M: 1,993,058
    Learning rate: 3e-3; on the demo 3e-3 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Zhang et al. (2023), AdaLoRA: Adaptive Budget Allocation for Parameter-Efficient Fine-Tuning,
      arXiv:2303.10512.
    When: it matters which layers get the ranks, and training is long enough to find out.
    """

    learning_rate: float = 3e-3
    init_r: Rank = 12
    target_r: Rank = 8
    alpha: Count = 12
    warmup: Share = 0.1  # share of the steps before pruning begins
    final: Share = 0.3  # share of the steps after it has ended
    every: Count = 10  # steps between two prunings
    orthogonality: Annotated[float, Range(0)] = (
        0.5  # weight of the loss that keeps the singular vectors orthogonal
    )

    def check(self, config: GPTConfig) -> None:
        super().check(config)
        if self.target_r >= self.init_r:
            raise InputError(
                f"adalora.target_r={self.target_r}: must be less than init_r={self.init_r}, or nothing is pruned"
            )
        if self.warmup + self.final >= 1:
            raise InputError(
                f"adalora.warmup={self.warmup} and adalora.final={self.final}: together they must be less than 1, "
                "or no step is left to prune in"
            )

    def config(self, model: GPTModel, target_modules: list[str]) -> "AdaLoraConfig":
        from peft import AdaLoraConfig

        return AdaLoraConfig(
            init_r=self.init_r,
            target_r=self.target_r,
            lora_alpha=self.alpha,
            deltaT=self.every,
            total_step=1,  # known in before_training
            target_modules=target_modules,
        )

    def apply(self, model: GPTModel) -> None:
        tuner = insert_adapter(model, self.config(model, target_names(model, self.targets, self.layers)))
        # The tuner holds the model: as a submodule it would make a cycle.
        model.strategy_state["adalora"] = tuner

    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:
        from peft import AdaLoraConfig

        steps = epochs * steps_per_epoch
        config = _tuner(model).peft_config["default"]
        assert isinstance(config, AdaLoraConfig)
        if steps - int(self.final * steps) < 2:
            raise InputError(f"adalora: {steps} training steps are too few to prune in; train longer")
        config.total_step = steps
        config.tinit, config.tfinal = int(self.warmup * steps), int(self.final * steps)

    def extra_loss(self, model: GPTModel) -> Tensor:
        """How far the singular vectors are from orthogonal: the mean norm of P^T P - I and Q Q^T - I over all layers.

        As in the paper's code; PEFT adds it only to the loss that a transformers model returns.
        """
        grams = []
        for name, factor in model.named_parameters():
            if "lora_A" in name:  # (r, D)
                grams.append(factor @ factor.T)
            elif "lora_B" in name:  # (E, r)
                grams.append(factor.T @ factor)
        differences = torch.stack(grams) - torch.eye(self.init_r, device=grams[0].device)
        return self.orthogonality * torch.linalg.matrix_norm(differences).mean()

    def after_step(self, model: GPTModel, step: int) -> None:
        """Update the importances from the step's gradients and prune; PEFT counts steps from 1."""
        _tuner(model).update_and_allocate(step + 1)

    def layer_count(self, inputs: int, outputs: int) -> int:
        return self.init_r * (inputs + outputs + 1)


def _tuner(model: GPTModel) -> "AdaLoraModel":
    tuner: AdaLoraModel = model.strategy_state["adalora"]
    return tuner
