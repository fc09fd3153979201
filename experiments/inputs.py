"""The model and the data of an experiment, each replaced by the embedded demo where it cannot be had."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from headtohead.core import data, weights
from headtohead.core.data import Dataset
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.tokens import OnTokens
from headtohead.core.weights import Pretrained
from headtohead.experiments.spec import Experiment

Found = TypeVar("Found")


@dataclass(frozen=True)
class Inputs:
    """What the runs work on; ``replaced`` says of "model" and "data" why the demo stands in for them, if it does."""

    pretrained: Pretrained
    dataset: Dataset
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def demo_parts(self) -> list[str]:
        """Which of the two are the embedded demo, in words."""
        is_demo = {"model": self.pretrained.is_demo, "messages": self.dataset.is_demo}
        return [part for part, demo in is_demo.items() if demo]


def find_inputs(experiment: Experiment, on_tokens: OnTokens | None = None) -> Inputs:
    """Find the model, then the data; ``on_tokens`` hears how many messages are tokenised, of all.

    What the user did not name falls back to the embedded demo when it is unavailable; each of the two on its own.

    Raises:
        Unavailable: what the user named can be neither found nor downloaded.
        InputError: what was found cannot be used.
    """
    replaced: dict[str, str] = {}

    def model(name: str | None) -> Pretrained:
        return weights.find_pretrained(wanted.as_asked(name), wanted.weights_dir, download=about.download)

    wanted, about = experiment.model, experiment.data
    pretrained = _or_demo(model, wanted.name, wanted.name or wanted.weights_dir, replaced, "model")

    def messages(name: str | None) -> Dataset:
        return data.load_dataset(
            name,
            context_length=pretrained.config.context_length,
            max_length=pretrained.config.context_length
            if about.max_length == "context"
            else about.max_length,
            label_column=about.label_column,
            text_column=about.text_column,
            balance=about.balanced,
            files=about.files,
            stratified=about.stratified,
            drop_duplicates=about.drop_duplicates,
            download=about.download,
            tokenizer=pretrained.tokenizer,
            on_progress=on_tokens,
        )

    try:
        dataset = _or_demo(messages, about.name, about.name or about.files, replaced, "data")
    except Unavailable:
        raise
    except InputError as error:
        if "model" in replaced:  # its limits, the shorter context above all, may be the reason
            length = pretrained.config.context_length
            raise InputError(
                f"{error} (the embedded demo model, which reads {length} tokens, stands in: {replaced['model']})"
            ) from error
        raise
    return Inputs(pretrained, dataset, replaced)


def _or_demo(
    find: Callable[[str | None], Found], name: str | None, named: object, replaced: dict[str, str], part: str
) -> Found:
    """``find(name)``, or the demo with the reason in ``replaced[part]`` where the user named nothing."""
    try:
        return find(name)
    except Unavailable as error:
        if named:
            raise
        replaced[part] = str(error).rstrip(".")
        return find("demo")
