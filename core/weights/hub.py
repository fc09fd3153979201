"""Models by their name on the Hugging Face Hub: ``hf:OWNER/NAME``, from the user's cache of it or downloaded into it.

The library huggingface_hub keeps that cache and knows the user's settings (HF_HOME, HF_HUB_CACHE, HF_HUB_OFFLINE,
HF_TOKEN).
"""

from pathlib import Path

from headtohead.core.config import HUB_NAME, HUB_PREFIX
from headtohead.core.errors import InputError, Unavailable, shown
from headtohead.core.weights import huggingface
from headtohead.core.weights.pretrained import Pretrained, Wanted
from headtohead.core.weights.tokenizer_files import MERGES_FILE, TOKENIZER_FILE, VOCABULARY_FILE

# OpenAI's sizes as the Hub has them.
PUBLISHED = {
    "124M": "openai-community/gpt2",
    "355M": "openai-community/gpt2-medium",
    "774M": "openai-community/gpt2-large",
    "1558M": "openai-community/gpt2-xl",
}
# Names from before the Hub had owners; the Hub forwards them, a cache holds whichever was asked for.
OWNED = {name.partition("/")[2]: name for name in PUBLISHED.values()} | {
    "distilgpt2": "distilbert/distilgpt2"
}
FILES = [
    huggingface.CONFIG_FILE,
    huggingface.WEIGHTS_FILE,
    huggingface.INDEX_FILE,
    "model-*-of-*.safetensors",
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    MERGES_FILE,
]
SECONDS = 5.0  # in which the Hub must answer


def find(wanted: Wanted) -> Pretrained | None:
    """The model of a name that begins with ``hf:``."""
    if wanted.model is None or not wanted.model.startswith(HUB_PREFIX):
        return None
    if wanted.weights_dir is not None:
        raise InputError(
            f"{shown(wanted.model)} names a model on the Hub; leave out either it or {wanted.weights_dir}"
        )
    repository = wanted.model.removeprefix(HUB_PREFIX)
    if not HUB_NAME.fullmatch(repository):
        raise InputError(
            f"--model {shown(wanted.model)}: after hf: comes the name of a model on the Hub, as in hf:distilgpt2"
        )
    try:
        folder = cached(repository) or download(repository, wanted.download)
    except Unavailable as error:
        raise Unavailable(
            f"{error}; to supply it, put its config.json and model.safetensors into a folder and name that with "
            "--weights-dir"
        ) from error
    return load(repository, folder, None, wanted.model)


def published(size: str, *, download_it: bool) -> Pretrained | None:
    """A published size from the Hub's cache, or downloaded into it where that is asked for; None where it is not there.

    Raises:
        Unavailable: it was to be downloaded and could not be.
    """
    repository = PUBLISHED[size]
    folder = cached(repository)
    if folder is None and download_it:
        folder = download(repository, True)
    return load(repository, folder, size) if folder is not None else None


def repository_of(pretrained: Pretrained) -> str | None:
    """The name on the Hub of a model that it has; None of one that it does not have."""
    if pretrained.name.startswith(HUB_PREFIX):
        return pretrained.name.removeprefix(HUB_PREFIX)
    return PUBLISHED.get(pretrained.name) if pretrained.weights_dir is None else None


def load(repository: str, folder: Path, size: str | None, name: str | None = None) -> Pretrained:
    """The checkpoint in a snapshot of the cache, which is named after the commit."""
    source = f"https://huggingface.co/{repository}, commit {folder.name}"
    return huggingface.load(folder, size, source, name)


def cached(repository: str) -> Path | None:
    """The snapshot of a model in the user's cache, if it is there whole."""
    from huggingface_hub import try_to_load_from_cache

    names = (repository, OWNED.get(repository), *(old for old, new in OWNED.items() if new == repository))
    for name in filter(None, names):
        found = try_to_load_from_cache(name, huggingface.CONFIG_FILE)
        if isinstance(found, str) and huggingface.is_complete(Path(found).parent):
            return Path(found).parent
    return None


def download(repository: str, allowed: bool) -> Path:
    """Fetch a model into the user's cache.

    Raises:
        Unavailable: downloading is switched off, or the Hub did not give it.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError

    if not allowed:
        raise Unavailable(f"{repository} is not in {constants.HF_HUB_CACHE} and downloading is switched off")
    try:
        return Path(snapshot_download(repository, allow_patterns=FILES, etag_timeout=SECONDS))
    except HFValidationError as error:
        raise InputError(f"--model hf:{repository}: {_first_line(error)}") from error
    except Exception as error:  # the library's errors, its network library's, and those of files
        raise Unavailable(
            f"{repository} could not be downloaded from https://huggingface.co ({_first_line(error)})"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
