"""The embedded demo: a small model that needs neither a network nor a file of the user's."""

from headtohead.core.config import CONFIGS, DEMO_MODEL
from headtohead.core.demo.load import demo_tensors
from headtohead.core.errors import InputError
from headtohead.core.weights.pretrained import Pretrained, Tensors, Wanted, tensors_sha256

SOURCE = "DEMO: a 4-layer GPT pretrained for 76 minutes on public text; not GPT-2"


def find(wanted: Wanted) -> Pretrained | None:
    """The demo model, where it is asked for by name."""
    if wanted.model != DEMO_MODEL:
        return None
    if wanted.weights_dir is not None:
        raise InputError(f"the demo model reads no weights; leave out either it or {wanted.weights_dir}")
    sha256 = tensors_sha256(read_tensors())
    return Pretrained(DEMO_MODEL, CONFIGS[DEMO_MODEL], sha256, SOURCE, read_tensors, is_demo=True)


def read_tensors() -> Tensors:
    """The demo model's weights: the one place that knows where they come from."""
    return demo_tensors()
