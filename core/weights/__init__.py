"""Pretrained GPT-2 weights: wherever they come from, found, checked, and built into a model in a moment.

Each source is one file of this folder with a function ``find(Wanted) -> Pretrained | None``; None says that the
request is meant for another source. A new source is its file and its line in :data:`SOURCES`.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from headtohead.core.config import CONFIGS, HUB_PREFIX, PUBLISHED_SIZES, RANDOM_PREFIX
from headtohead.core.errors import InputError
from headtohead.core.files import file_errors
from headtohead.core.weights import demo, hub, local, published, random
from headtohead.core.weights.pretrained import Pretrained, Wanted

__all__ = ["Pretrained", "Wanted", "find_pretrained"]

# Asked in this order; the first that answers is taken.
SOURCES: tuple[Callable[[Wanted], Pretrained | None], ...] = (
    demo.find,
    hub.find,
    local.find,
    published.find,
)


def find_pretrained(model: str | None, weights_dir: Path | None, *, download: bool = True) -> Pretrained:
    """Find, download or generate pretrained weights, and check them.

    Args:
        model: a published size, "demo", "hf:NAME" for a model on the Hugging Face Hub, or None for 124M (or whatever
            ``weights_dir`` itself holds). "random:" before one of these, or alone, takes the shape and draws the
            weights.
        weights_dir: a folder with a checkpoint of OpenAI's or of transformers', or with one in a subfolder named
            after the size; None for the caches, into which missing files are downloaded.
        download: False never touches the network.

    Raises:
        Unavailable: the weights are neither on this machine nor could they be downloaded.
        InputError: an unknown name, or a checkpoint that is incomplete, damaged or of another shape.
    """
    wanted = Wanted(model, weights_dir, download)
    with file_errors(
        "reading the weights", "give another folder with --weights-dir, or another HEADTOHEAD_CACHE"
    ):
        if model is not None and model.startswith(RANDOM_PREFIX):
            return _random(wanted, model.removeprefix(RANDOM_PREFIX))
        return _find(wanted)


def _find(wanted: Wanted) -> Pretrained:
    for find in SOURCES:
        found = find(wanted)
        if found is not None:
            return found
    raise InputError(
        f"model {wanted.model!r} is unknown; choose one of {', '.join(CONFIGS)}, or {HUB_PREFIX}NAME of a model on "
        "the Hugging Face Hub"
    )


def _random(wanted: Wanted, shape: str) -> Pretrained:
    """Random weights; a published shape is known without its weights, any other comes with a model."""
    if wanted.weights_dir is None and shape in PUBLISHED_SIZES:
        return random.contrast(wanted, None)
    known = shape in CONFIGS or shape.startswith(HUB_PREFIX)
    return random.contrast(wanted, _find(replace(wanted, model=shape if known else None)))
