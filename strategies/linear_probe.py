"""Baseline: logistic regression on the frozen features."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from headtohead.core.strategy import Baseline, Prediction
from headtohead.strategies._regression import fit_predict


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Baseline):
    """Regularised logistic regression on the pretrained model's features, fitted to the optimum.

    The problem is convex, so there is one optimum and no learning rate; no closed form gives it, a solver finds it.
    The features are standardised; the strength of the regularisation is chosen by 5-fold cross-validation.
    Parameters: D + 1 (two classes; C*(D + 1) for more).
    At 124M: 769
    Learning rate: none: a convex problem that is solved.
    Reference: Alain and Bengio (2016), Understanding intermediate layers using linear classifier probes,
        arXiv:1610.01644.
    When: always: what no finetuning beats, the pretrained features already give away.
    """

    family: ClassVar[str] = "baselines"
    reads: ClassVar[Literal["texts", "features"]] = "features"

    def fit_predict(self, train: Any, labels: Tensor, others: Any, n_classes: int, seed: int) -> Prediction:
        from sklearn.preprocessing import StandardScaler

        return fit_predict(StandardScaler(), train.numpy(), labels, others.numpy(), n_classes, seed)
