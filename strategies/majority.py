"""Baseline: the most frequent class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from headtohead.core.strategy import Baseline, Prediction


@dataclass(frozen=True, kw_only=True)
class Majority(Baseline):
    """The most frequent class of the training messages, whatever the message says.

    Its scores are the logarithms of the classes' shares, so its loss is the entropy of the labels.
    Parameters: C.
    At 124M: 2
    Learning rate: none: the classes are counted.
    Reference: scikit-learn's DummyClassifier.
    When: always: an accuracy means nothing before it is compared with this one.
    """

    family: ClassVar[str] = "baselines"

    def fit_predict(self, train: Any, labels: Tensor, others: Any, n_classes: int, seed: int) -> Prediction:
        counts = torch.bincount(labels, minlength=n_classes)
        shares = counts.clamp(min=1e-9) / len(labels)  # log(0) is no score
        return Prediction(shares.log().expand(len(others), -1).clone(), n_classes)
