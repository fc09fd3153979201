"""Baseline: a bag of words."""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from headtohead.core.strategy import Baseline, Prediction
from headtohead.strategies._regression import fit_predict


@dataclass(frozen=True, kw_only=True)
class TfidfLogreg(Baseline):
    """Logistic regression on the words of a message, weighted by TF-IDF; no GPT at all.

    The strength of the regularisation is chosen by 5-fold cross-validation.
    Parameters: W + 1, W the distinct words of the training messages (two classes; C*(W + 1) for more).
    At 124M: words + 1
    Learning rate: none: a convex problem that is solved.
    Reference: Sparck Jones (1972), A statistical interpretation of term specificity and its application in
        retrieval; scikit-learn's TfidfVectorizer.
    When: always: where a bag of words wins, no language model is needed.
    """

    family: ClassVar[str] = "baselines"

    def fit_predict(self, train: Any, labels: Tensor, others: Any, n_classes: int, seed: int) -> Prediction:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Single characters such as "u" or "!" and digits tell much in a short message: split at spaces alone.
        words = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True)
        return fit_predict(words, train, labels, others, n_classes, seed)
