"""Pretrained GPT-2 weights: wherever they come from, found, checked, and built into a model in a moment.

Each source is one file of this folder with a function ``find(Wanted) -> Pretrained | None``; None says that the
request is meant for another source. A new source is its file and its line in :data:`SOURCES`.
"""

from collections.abc import Callable
from pathlib import Path

from headtohead.core.config import CONFIGS
from headtohead.core.errors import InputError
from headtohead.core.files import file_errors
from headtohead.core.weights import demo, openai
from headtohead.core.weights.pretrained import Pretrained, Wanted

__all__ = ["Pretrained", "Wanted", "find_pretrained"]

# Asked in this order; the first that answers is taken.
SOURCES: tuple[Callable[[Wanted], Pretrained | None], ...] = (
    demo.find,
    openai.find,
)


def find_pretrained(model: str | None, weights_dir: Path | None, *, download: bool = True) -> Pretrained:
    """Find, download or generate pretrained weights, and check them.

    Args:
        model: a published size, "demo", or None for 124M (or whatever ``weights_dir`` itself holds).
        weights_dir: a folder with a checkpoint, or with one in a subfolder named after the size; None for the
            cache folder, into which missing files are downloaded.
        download: False never touches the network.

    Raises:
        Unavailable: the weights are neither on this machine nor could they be downloaded.
        InputError: an unknown name, or a checkpoint that is incomplete, damaged or of another shape.
    """
    wanted = Wanted(model, weights_dir, download)
    with file_errors(
        "reading the weights", "give another folder with --weights-dir, or another HEADTOHEAD_CACHE"
    ):
        for find in SOURCES:
            found = find(wanted)
            if found is not None:
                return found
    raise InputError(f"model {model!r} is unknown; choose one of {', '.join(CONFIGS)}")
