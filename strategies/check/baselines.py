"""The shorter list of checks for rows that do not train the GPT."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headtohead.core.config import CONFIGS
from headtohead.core.strategy import Baseline, Prediction, Variant
from headtohead.strategies.check.checks import stated_number
from headtohead.strategies.check.findings import Check, CheckFailed, Finding

ROWS = 40
WORDS = {
    0: ("see you", "at home", "call later"),
    1: ("win cash", "free prize", "call now"),
    2: ("sorry", "ok", "no"),
}


@dataclass
class BaselineBench:
    """One baseline, and forty messages to fit it on."""

    variant: Variant

    @property
    def baseline(self) -> Baseline:
        """The baseline under check."""
        assert isinstance(self.variant.strategy, Baseline)
        return self.variant.strategy

    def messages(self, n_classes: int = 2, width: int = 12) -> tuple[Any, Tensor]:
        """Texts, or features (N, ``width``) that tell the classes apart a little, and labels (N,)."""
        labels = torch.arange(ROWS) % n_classes
        if self.baseline.reads == "texts":
            return [f"{WORDS[label][row % 3]} {row}" for row, label in enumerate(labels.tolist())], labels
        features = torch.randn(ROWS, width, generator=torch.Generator().manual_seed(22))
        return features + labels[:, None], labels

    def predict(self, n_classes: int = 2, rows: slice = slice(None), width: int = 12) -> Prediction:
        """Fitted on all messages under seed 1, asked about some of them."""
        train, labels = self.messages(n_classes, width)
        return self.baseline.fit_predict(train, labels, train[rows], n_classes, 1)


def gives_scores(bench: BaselineBench) -> Finding:
    """Scores (M, C) that are numbers, with two classes and with three, and a number of parameters."""
    for n_classes in (2, 3):
        prediction = bench.predict(n_classes)
        if prediction.logits.shape != (ROWS, n_classes) or not torch.isfinite(prediction.logits).all():
            raise CheckFailed(
                f"for {ROWS} messages of {n_classes} classes the scores have the shape "
                f"{tuple(prediction.logits.shape)}, or some are no numbers"
            )
        if prediction.parameters < 0:
            raise CheckFailed(f"{prediction.parameters} parameters were fitted")
    return Finding("passed")


def repeats(bench: BaselineBench) -> Finding:
    """The same seed gives bit-equal scores."""
    if not torch.equal(bench.predict().logits, bench.predict().logits):
        raise CheckFailed("two fits under the same seed give other scores")
    return Finding("passed")


def learns_from_train_alone(bench: BaselineBench) -> Finding:
    """The scores of a message do not depend on which other messages are scored with it."""
    if not torch.allclose(bench.predict().logits[3:9], bench.predict(rows=slice(3, 9)).logits, atol=1e-6):
        raise CheckFailed("the scores of a message change with the messages that are scored beside it")
    return Finding("passed")


def leaves_input(bench: BaselineBench) -> Finding:
    """What it is fitted on is left as it was."""
    train, labels = bench.messages()
    bench.baseline.fit_predict(train, labels, train, 2, 1)
    same_texts, same_labels = bench.messages()
    equal = torch.equal(train, same_texts) if isinstance(train, Tensor) else train == same_texts
    if not (equal and torch.equal(labels, same_labels)):
        raise CheckFailed("fit_predict changed the messages or the labels that it was given")
    return Finding("passed")


def count_as_stated(bench: BaselineBench) -> Finding:
    """The docstring's "At 124M" is the number of fitted parameters, where that does not depend on the texts."""
    stated = stated_number(bench.baseline)
    if stated is None:
        return Finding("skipped", "the docstring states no number: it depends on the messages")
    actual = bench.predict(width=CONFIGS["124M"].emb_dim).parameters
    if stated != actual:
        raise CheckFailed(f"{actual:,} parameters were fitted; the docstring says {stated:,}")
    return Finding("passed", f"{actual:,}")


BASELINE_CHECKS: tuple[Check, ...] = (
    Check(
        "gives scores",
        gives_scores,
        "columns are missing for a class, or log(0) is infinite",
        "return one column per class, and clip probabilities before the logarithm",
    ),
    Check(
        "repeats under its seed",
        repeats,
        "random numbers come from an estimator without random_state",
        "pass the seed on as random_state",
    ),
    Check(
        "learns from train alone",
        learns_from_train_alone,
        "a vocabulary, a mean or a scale is fitted on the messages to be scored",
        "fit everything on train and only transform the others",
    ),
    Check(
        "leaves its input alone",
        leaves_input,
        "features are scaled in place",
        "work on a copy",
    ),
    Check(
        "count at 124M is as stated",
        count_as_stated,
        "the docstring lacks the line or the formula forgets the intercept",
        'write the number of fitted parameters into the docstring as "At 124M: N"',
    ),
)
