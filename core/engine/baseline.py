"""A baseline's row: fitted in one go on texts or frozen features, and evaluated on the same splits."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from core.engine.meter import Meter
from core.engine.options import Outcome
from core.strategy import Baseline, count_parameters
from core.training import SPLITS, Evaluation, History, Progress, SplitName

if TYPE_CHECKING:
    from core.engine.fit import Engine, OnProgress


def fit_baseline(engine: "Engine", baseline: Baseline, seed: int, on_progress: "OnProgress") -> Outcome:
    """Fit a baseline and evaluate it on all rows of each split; it leaves no classifier on disk."""
    meter, stored = Meter(engine.options.device), None
    if baseline.reads == "features":
        stored = engine.features(on_progress)
    with meter.measure("setup"):
        inputs = {name: _inputs(engine, name, stored.hidden if stored else None) for name in SPLITS}
        labels = {name: engine.labels[name].cpu() for name in SPLITS}
    with meter.measure("train"):
        everything = _together([inputs[name] for name in SPLITS])
        prediction = baseline.fit_predict(inputs["train"], labels["train"], everything, engine.n_classes, seed)
    on_progress(Progress(1, 1, None, "fitted"))
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
        total_params=_total(engine, baseline, prediction.parameters),
        classifier_bytes=None,
        plan={"words": ["fitted in one go, without training the GPT"]},
        setup_seconds=meter.seconds["setup"],
        prefix_seconds=stored.seconds if stored else None,
        train_seconds=meter.seconds["train"],
        eval_seconds=meter.seconds["eval"],
        peak_memory_bytes=meter.peak_memory_bytes(),
    )


def _inputs(engine: "Engine", split: SplitName, features: Tensor | None) -> Any:
    """The split's texts, or its rows of the features (N, D)."""
    if features is None:
        return list(getattr(engine.dataset, split).texts)
    return features[engine.sequences.of_row[split].to(features.device)].cpu()


def _together(parts: list[Any]) -> Any:
    return torch.cat(parts) if isinstance(parts[0], Tensor) else [text for part in parts for text in part]


def _total(engine: "Engine", baseline: Baseline, parameters: int) -> int:
    """Parameters of everything that classifies: the GPT counts where its features are read."""
    if baseline.reads == "texts":
        return parameters
    return parameters + count_parameters(engine.pretrained.build().parameters())


def _evaluation(logits: Tensor, labels: Tensor) -> Evaluation:
    loss = float(F.cross_entropy(logits, labels))
    correct = int((logits.argmax(dim=-1) == labels).sum())
    return Evaluation(loss, correct / len(labels), logits, labels)
