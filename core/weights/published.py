"""The four sizes that OpenAI published: from a cache on this machine, else from OpenAI, its mirror, or the Hub."""

from headtohead.core.config import DEFAULT_MODEL, PUBLISHED_SIZES
from headtohead.core.errors import Unavailable
from headtohead.core.weights import hub, openai
from headtohead.core.weights.pretrained import Pretrained, Wanted


def find(wanted: Wanted) -> Pretrained | None:
    """A published size; the weights are the same wherever they come from."""
    name = wanted.model or DEFAULT_MODEL
    if wanted.weights_dir is not None or name not in PUBLISHED_SIZES:
        return None
    try:
        return openai.published(name, download=False)
    except Unavailable as error:
        absent = error
    if found := hub.published(name, download_it=False):
        return found
    failures = [absent]
    if wanted.download:
        failures = []
        try:
            return openai.published(name, download=True)
        except Unavailable as error:
            failures.append(error)
        try:
            return hub.published(name, download_it=True)
        except Unavailable as error:
            failures.append(error)
    raise Unavailable(
        f"{'; '.join(map(str, failures))}; to supply the weights, put OpenAI's {', '.join(openai.NEEDED_FILES)} "
        f"into a folder and name it with --weights-dir"
    ) from failures[-1]
