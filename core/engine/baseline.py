"""A baseline's row: fitted in one go on texts or frozen features, and evaluated on the same splits."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.data import Dataset
from headtohead.core.engine.meter import Meter
from headtohead.core.engine.options import OnProgress, Outcome
from headtohead.core.strategy import Baseline, count_parameters
from headtohead.core.training import SPLITS, Evaluation, History, SplitName

if TYPE_CHECKING:
    from headtohead.core.engine.engine import Engine

WORDS = ["fitted in one go, without training the GPT"]


def fit_baseline(engine: "Engine", baseline: Baseline, seed: int, on_progress: OnProgress) -> Outcome:
    """A baseline's row; features are the hidden states behind the final norm, where a classifier reads."""
    rows = engine.train_rows(seed)
    if baseline.reads == "texts":
        return _fit(baseline, engine.dataset, None, 0, seed, rows)
    stored = engine.hidden_states(engine.pretrained.config.n_layers + 2, on_progress)
    hidden = stored.hidden.cpu()
    features = {name: hidden[engine.sequences.of_row[name]] for name in SPLITS}
    gpt_params = count_parameters(engine.pretrained.build().parameters())
    outcome = _fit(baseline, engine.dataset, features, gpt_params, seed, rows)
    return replace(outcome, prefix_seconds=stored.seconds)


def _fit(
    baseline: Baseline,
    dataset: Dataset,
    features: dict[SplitName, Tensor] | None,
    gpt_params: int,
    seed: int,
    train_rows: Sequence[int] | None,
) -> Outcome:
    """Fit a baseline and evaluate it on all rows of each split; it leaves no classifier on disk.

    Args:
        features: (N, D) per split where the baseline reads features, on the CPU; None where it reads texts.
        gpt_params: how many parameters of the GPT the features come from; 0 where it reads texts.
        train_rows: the rows of train that may be seen; None for all.
    """
    meter = Meter("cpu")
    labels = {name: getattr(dataset, name).labels for name in SPLITS}
    inputs: dict[SplitName, Any] = features or {name: list(getattr(dataset, name).texts) for name in SPLITS}
    if train_rows is not None:
        labels["train"] = labels["train"][list(train_rows)]
        seen = inputs["train"]
        inputs = inputs | {"train": seen[list(train_rows)] if features else [seen[row] for row in train_rows]}
    with meter.measure("train"):
        everything = _concatenated([inputs[name] for name in SPLITS])
        n_classes = len(dataset.label_names)
        prediction = baseline.fit_predict(inputs["train"], labels["train"], everything, n_classes, seed)
    with meter.measure("eval"):
        parts = prediction.logits.float().split([len(labels[name]) for name in SPLITS])
        results = {
            name: _evaluation(logits, labels[name]) for name, logits in zip(SPLITS, parts, strict=True)
        }
    return Outcome(
        history=History(),
        train=results["train"],
        validation=results["validation"],
        test=results["test"],
        trainable_params=prediction.parameters,
        total_params=prediction.parameters + gpt_params,
        classifier_bytes=None,
        plan={"words": WORDS},
        setup_seconds=0.0,
        prefix_seconds=None,
        train_seconds=meter.seconds["train"] - (prediction.selection_seconds or 0.0),
        selection_seconds=prediction.selection_seconds,
        eval_seconds=meter.seconds["eval"],
        train_joules=None if prediction.selection_seconds else meter.joules.get("train"),
        peak_memory_bytes=meter.peak_memory_bytes(),
    )


def _concatenated(parts: list[Any]) -> Any:
    return torch.cat(parts) if isinstance(parts[0], Tensor) else [text for part in parts for text in part]


def _evaluation(logits: Tensor, labels: Tensor) -> Evaluation:
    loss = float(F.cross_entropy(logits, labels))
    correct = int((logits.argmax(dim=-1) == labels).sum())
    return Evaluation(loss, correct / len(labels), logits, labels)
