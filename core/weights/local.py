"""Checkpoints in a folder that the user names, in whichever format lies there."""

from dataclasses import replace
from pathlib import Path

from headtohead.core.config import DEFAULT_MODEL, PUBLISHED_SIZES
from headtohead.core.errors import InputError
from headtohead.core.weights import huggingface, openai
from headtohead.core.weights.pretrained import Pretrained, Wanted


def find(wanted: Wanted) -> Pretrained | None:
    """Whatever checkpoint the user's folder holds; None where no folder was named."""
    if wanted.weights_dir is None or wanted.model not in (None, *PUBLISHED_SIZES):
        return None
    folder, expected = locate(wanted.weights_dir, wanted.model)
    if huggingface.recognises(folder) and not openai.recognises(folder):
        found = huggingface.load(folder, expected, f"GPT-2 checkpoint of transformers in the folder {folder}")
    else:
        found = openai.load(folder, expected, f"GPT-2 checkpoint in the folder {folder}")
    return replace(found, weights_dir=wanted.weights_dir)


def locate(weights_dir: Path, model: str | None) -> tuple[Path, str | None]:
    """The checkpoint's folder and the size it must have (None for any): DIR/<size>, else DIR itself."""
    if not weights_dir.is_dir():
        raise InputError(f"the weights folder {weights_dir} does not exist")
    wanted = model or DEFAULT_MODEL
    if (weights_dir / wanted).is_dir():
        return weights_dir / wanted, wanted
    if openai.recognises(weights_dir) or huggingface.recognises(weights_dir):
        return weights_dir, model
    others = [size for size in PUBLISHED_SIZES if (weights_dir / size).is_dir()]
    hint = f"; it does hold {', '.join(others)}: name that with --model" if others else ""
    raise InputError(
        f"the weights folder {weights_dir} holds neither a folder {wanted} nor the files "
        f"{', '.join(openai.NEEDED_FILES)}, nor {huggingface.CONFIG_FILE} with {huggingface.WEIGHTS_FILE}{hint}"
    )
