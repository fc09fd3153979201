"""What the baselines that fit a logistic regression share. Source: https://scikit-learn.org."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from headtohead.core.errors import InputError
from headtohead.core.strategy import Prediction

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

FOLDS = 5
STRENGTHS = tuple(10.0**exponent for exponent in range(-4, 5))  # scikit-learn's C: larger regularises less


def fit_predict(
    transform: "BaseEstimator", train: Any, labels: Tensor, others: Any, n_classes: int, seed: int
) -> Prediction:
    """L2-regularised logistic regression behind ``transform``, its strength chosen by cross-validation on ``train``.

    Raises:
        InputError: a class has fewer than two examples, so that no part can be held out.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import Pipeline

    rarest = int(torch.bincount(labels).min())
    if rarest < 2:
        raise InputError(
            f"a class has {rarest} training messages; cross-validation needs at least 2 of every class"
        )
    folds = StratifiedKFold(min(FOLDS, rarest), shuffle=True, random_state=seed)
    pipeline = Pipeline([("transform", transform), ("regression", LogisticRegression(max_iter=2000))])
    search = GridSearchCV(pipeline, {"regression__C": STRENGTHS}, cv=folds, scoring="neg_log_loss")
    started = time.perf_counter()
    search.fit(train, labels.numpy())
    selection = time.perf_counter() - started - search.refit_time_
    return replace(_prediction(search.best_estimator_, others, n_classes), selection_seconds=selection)


def _prediction(fitted: Any, others: Any, n_classes: int) -> Prediction:
    """Log-probabilities (M, C) of a fitted pipeline; a class that it never saw gets next to nothing."""
    regression = fitted["regression"]
    logits = np.full((len(others), n_classes), -30.0)
    logits[:, regression.classes_] = fitted.predict_log_proba(others)
    scores = torch.from_numpy(logits).clamp(min=-30.0).float()
    return Prediction(scores, regression.coef_.size + regression.intercept_.size)
