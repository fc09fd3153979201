"""The model and the data of an experiment, each replaced by the embedded demo where it cannot be had."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from headtohead.core import data, weights
from headtohead.core.data import Dataset
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.weights import Pretrained
from headtohead.experiments.spec import Experiment

Found = TypeVar("Found")


@dataclass(frozen=True)
class Inputs:
    """What the runs work on; ``missing`` says, a sentence each, what was replaced by the demo and why."""

    pretrained: Pretrained
    dataset: Dataset
    missing: tuple[str, ...] = ()

    @property
    def demo_parts(self) -> list[str]:
        """Which of the two are the embedded demo, in words."""
        is_demo = {"model": self.pretrained.is_demo, "messages": self.dataset.is_demo}
        return [part for part, demo in is_demo.items() if demo]


def find_inputs(experiment: Experiment, csv_dir: Path) -> Inputs:
    """Find the model, then the data, whose splits are written into ``csv_dir``.

    What the user did not name falls back to the embedded demo when it is unavailable; each of the two on its own.

    Raises:
        Unavailable: what the user named can be neither found nor downloaded.
        InputError: what was found cannot be used.
    """
    missing: list[str] = []

    def model(name: str | None) -> Pretrained:
        return weights.find_pretrained(name, experiment.weights_dir, download=experiment.download)

    named = experiment.model is not None or experiment.weights_dir is not None
    pretrained = _or_demo(model, experiment.model, named, missing)

    def messages(name: str | None) -> Dataset:
        return data.load_dataset(
            name,
            csv_dir,
            context_length=pretrained.config.context_length,
            max_length=experiment.max_length,
            label_column=experiment.label_column,
            text_column=experiment.text_column,
            balance=experiment.balance,
            download=experiment.download,
        )

    try:
        dataset = _or_demo(messages, experiment.data, experiment.data is not None, missing)
    except Unavailable:
        raise
    except InputError as error:
        if missing:  # of the model: its limits, the shorter context above all, may be the reason
            length = pretrained.config.context_length
            raise InputError(
                f"{error} (the embedded demo model, which reads {length} tokens, stands in: {missing[0]})"
            ) from error
        raise
    return Inputs(pretrained, dataset, tuple(missing))


def _or_demo(find: Callable[[str | None], Found], name: str | None, named: bool, missing: list[str]) -> Found:
    """``find(name)``, or the demo with the reason added to ``missing`` where the user named nothing."""
    try:
        return find(name)
    except Unavailable as error:
        if named:
            raise
        missing.append(str(error).rstrip("."))
        return find("demo")
