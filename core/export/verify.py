"""An exported classifier is held against its original before anybody sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from headtohead.core.classifier import Classifier
from headtohead.core.errors import InputError

SAME = 1e-4  # of a probability


@dataclass(frozen=True)
class Exported:
    """A folder that was written, as the library that opens it answers.

    Attributes:
        library: its name.
        logits: texts -> class logits (N, C).
    """

    library: str
    logits: Callable[[Sequence[str]], Tensor]


def check_same(classifier: Classifier, exported: Exported, texts: Sequence[str]) -> None:
    """Compare labels and probabilities on some texts.

    Raises:
        InputError: a label differs, or a probability by more than :data:`SAME`.
    """
    own, other = classifier.logits(texts).softmax(-1), exported.logits(texts).softmax(-1)
    difference = float((own - other).abs().max())
    labels = int((own.argmax(-1) != other.argmax(-1)).sum())
    if labels or not difference <= SAME:
        raise InputError(
            f"what {exported.library} reads differs from the classifier: {labels} of {len(texts)} labels, and "
            f"probabilities by up to {difference:.2g}; nothing was written"
        )
