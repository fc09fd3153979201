"""Fewer training messages: nested, class-balanced subsets of the training split."""

from collections.abc import Sequence

import numpy as np


def balanced_rows(labels: Sequence[int], size: int, seed: int) -> list[int]:
    """``size`` row numbers with as many of every class as there are, in the order in which they were drawn.

    The subset of a smaller size is the beginning of that of a larger one under the same seed. Torch's generator,
    from which a run draws, is left alone.

    Args:
        labels: the class of each of N rows.
        size: at most N.
    """
    rng = np.random.default_rng(seed)
    classes = np.asarray(labels)
    queues = [rng.permutation(np.flatnonzero(classes == each)) for each in np.unique(classes)]
    place = np.concatenate([np.arange(len(queue)) for queue in queues])
    rows = np.concatenate(queues)
    # One of each class in turn; where a class has no more, the others go on.
    return [int(row) for row in rows[np.argsort(place, kind="stable")][:size]]
