"""headtohead: finetuning strategies of GPT-2 compared on the same messages under the same protocol.

    import headtohead

    summary = headtohead.compare(strategies=["head", "lora@r=4"], model="demo", data="demo")
    print(summary.table())
    headtohead.load_classifier("results/demo-demo/runs/RUN").classify(["You won a prize, call now"])

Importing this is quick: torch is loaded by the first call that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headtohead.core.classifier import Classifier
    from headtohead.core.classify import Answer
    from headtohead.core.strategy import Baseline, Strategy
    from headtohead.experiments.statistics import Summary
    from headtohead.experiments.watch import Watcher

__all__ = [
    "Baseline",
    "Strategy",
    "classify",
    "compare",
    "export_classifier",
    "list_strategies",
    "load_classifier",
    "load_classifiers",
]


def compare(
    strategies: str | Sequence[str] | None = None,
    *,
    model: str | None = None,
    data: str | Path | None = None,
    seeds: Sequence[int] | None = None,
    watch: Watcher | None = None,
    **settings: Any,
) -> Summary:
    """Compare finetuning strategies; the same as the command ``headtohead``, without a terminal.

    Args:
        strategies: labels such as "lora@r=4", families, or "all"; None for the chapter's four.
        model: "124M", "355M", "774M", "1558M" or "demo"; None for 124M, or the demo where that cannot be had.
        data: "sms_spam", "demo" or a file; None for sms_spam, or the demo where that cannot be had.
        seeds: None for three where that takes minutes, else one.
        watch: hears what happens while it runs; None for silence.
        settings: every other flag by its name: ``epochs=1``, ``weights_dir="gpt2"``, ``no_balance=True``,
            ``set=["lora.alpha=8"]``.

    Returns:
        What the report says; ``summary.table()`` is a pandas DataFrame, ``summary.failed`` the runs that failed.

    Raises:
        headtohead.core.errors.InputError: settings that cannot be run; nothing is written then.
    """
    from headtohead.experiments.runner import compare as run
    from headtohead.experiments.spec import Experiment

    named = {"strategies": strategies, "model": model, "data": data, "seeds": seeds}
    given = {key: value for key, value in {**named, **settings}.items() if value is not None}
    call = ", ".join(f"{key}={value!r}" for key, value in given.items())
    if isinstance(data, Path):
        given["data"] = str(data)
    if seeds is not None:
        given["seeds"] = ",".join(map(str, seeds))
    return run(Experiment.of(given, command=f"headtohead.compare({call})"), watch)


def list_strategies() -> list[str]:
    """The names of the strategies that come with headtohead."""
    from headtohead.strategies import discover

    return list(discover())


def load_classifier(run: str | Path, device: str = "cpu") -> Classifier:
    """A finetuned classifier from a run's folder, ``results/NAME/runs/RUN``; ask it with ``classify(texts)``.

    Raises:
        headtohead.core.errors.InputError: the folder holds no classifier, or what it needs is not there.
    """
    from headtohead.core.classifier import load_classifier as load

    return load(Path(run), device=device)


def load_classifiers(experiment: str | Path, device: str = "cpu") -> dict[str, Classifier]:
    """All classifiers of an experiment's folder, ``results/NAME``, by label (and seed, where a label has several).

    ``headtohead.classify`` asks them all at once.

    Raises:
        headtohead.core.errors.InputError: the folder holds no classifier, or what one needs is not there.
    """
    from headtohead.core.classify import find_classifiers

    return find_classifiers(Path(experiment), device=device)


def classify(
    folder: str | Path, texts: Sequence[str], *, latency: bool = False, device: str = "cpu"
) -> dict[str, list[Answer]]:
    """What the classifier of a run, or every one of an experiment, says of some texts; as ``headtohead classify``.

    Args:
        folder: a run's or an experiment's.
        texts: the messages.
        latency: classify one message at a time, and time it.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".

    Returns:
        By the classifier's name, an answer for each text: ``label``, ``probability``, ``probabilities`` of all
        classes, ``milliseconds``.
    """
    from headtohead.core.classify import answer

    found = load_classifiers(folder, device)
    return {name: answer(each, texts, latency=latency) for name, each in found.items()}


def export_classifier(run: str | Path, to: str, output: str | Path | None = None) -> Path:
    """Write a run's classifier as a folder that another library opens, verified; returns the folder.

    Args:
        run: the run's folder.
        to: "transformers", "peft" or "gptmodel".
        output: the folder to be made; None for ``export-<to>`` in the run's folder.

    Raises:
        headtohead.core.errors.InputError: it cannot be exported so; nothing is written then.
    """
    from headtohead.core.export import export_classifier as export

    return export(Path(run), to, None if output is None else Path(output))


def __getattr__(name: str) -> Any:
    """The base classes of strategies, which need torch, when they are first asked for."""
    if name in ("Strategy", "Baseline"):
        from headtohead.core import strategy

        return getattr(strategy, name)
    raise AttributeError(f"module 'headtohead' has no attribute {name!r}")
