"""One run from its seed to the finetuned classifier on disk, measured."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from core.classifier import (
    describe_classifier,
    load_tensors,
    make_classifier,
    rebuild,
    save_classifier,
    size_on_disk,
)
from core.data import Dataset
from core.engine.forward import ReferenceForward
from core.engine.memory import peak_memory_bytes, reset_peak_memory
from core.errors import TrainingError
from core.model import GPTModel
from core.strategy import Strategy, Variant, count_parameters, trainable_parameters
from core.training import (
    Evaluation,
    Forward,
    History,
    Progress,
    TrainConfig,
    batches_of,
    evaluate,
    protocol,
    row_loaders,
    train,
)
from core.weights import Pretrained


@dataclass(frozen=True)
class EngineOptions:
    """Where and how to compute; none of it changes the protocol."""

    device: str = "cpu"
    precision: str = "fp32"
    reference: bool = False


@dataclass(frozen=True)
class Outcome:
    """Everything that one finished run measured; times in seconds, memory and sizes in bytes."""

    history: History
    train: Evaluation
    validation: Evaluation
    test: Evaluation  # of the classifier that was reloaded from disk
    trainable_params: int
    total_params: int
    classifier_bytes: int
    plan: dict[str, Any]
    setup_seconds: float
    prefix_seconds: float
    train_seconds: float
    eval_seconds: float
    peak_memory_bytes: int | None
    warnings: list[str] = field(default_factory=list)
    grouped: bool = False


class _Clock:
    """Seconds spent per part of a run."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        start = self._now()
        yield
        self.seconds[part] = self.seconds.get(part, 0.0) + self._now() - start

    def _now(self) -> float:
        if self.device.startswith("cuda"):
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class Engine:
    """Runs strategies on one pretrained model and one data set under one protocol."""

    def __init__(
        self, pretrained: Pretrained, dataset: Dataset, config: TrainConfig, options: EngineOptions | None = None
    ) -> None:
        self.pretrained = pretrained
        self.dataset = dataset
        self.config = config
        self.options = options or EngineOptions()

    @property
    def n_classes(self) -> int:
        return len(self.dataset.label_names)

    def count(self, variant: Variant) -> tuple[int, int]:
        """Trainable and total parameters of a variant, without training it."""
        model = rebuild(self.pretrained, variant.strategy, self.n_classes, seed=0)
        return count_parameters(trainable_parameters(model)), count_parameters(model.parameters())

    def fit(
        self,
        variant: Variant,
        seed: int,
        classifier_dir: Path,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Outcome:
        """Train one variant under one seed and leave its classifier in ``classifier_dir``.

        The accuracy on test is that of the classifier reloaded from disk, so a file that does not reproduce the
        model cannot earn a row.

        Raises:
            TrainingError: the loss is not finite, or the reloaded classifier differs from the trained one.
        """
        device, clock = self.options.device, _Clock(self.options.device)
        exact_peak = reset_peak_memory(device)
        with clock.measure("setup"):
            model = self.pretrained.build()
            make_classifier(model, variant.strategy, self.n_classes, seed)
            model.to(device)
            trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
            counts = count_parameters(trainable_parameters(model)), count_parameters(model.parameters())
            forward = ReferenceForward(model, self.dataset, self.config, device)
        with clock.measure("train"):
            history = self._train(model, variant.strategy, forward, seed, on_progress)
        peak = peak_memory_bytes(device)
        with clock.measure("eval"):
            loaders = row_loaders(self.dataset, self.config.batch_size)
            train_result = evaluate(forward, "train", batches_of(loaders["train"]))
            validation_result = evaluate(forward, "validation", batches_of(loaders["validation"]))
            test_result, warnings = self._save_and_test(model, forward, trained, variant, seed, classifier_dir)
        return Outcome(
            history=history,
            train=train_result,
            validation=validation_result,
            test=test_result,
            trainable_params=counts[0],
            total_params=counts[1],
            classifier_bytes=size_on_disk(classifier_dir),
            plan={"words": ["reference path: every message through the whole model at every step"]},
            setup_seconds=clock.seconds["setup"],
            prefix_seconds=0.0,
            train_seconds=clock.seconds["train"],
            eval_seconds=clock.seconds["eval"],
            peak_memory_bytes=peak,
            warnings=warnings if exact_peak else [*warnings, "peak memory covers earlier runs of this process, too"],
        )

    def _train(
        self,
        model: GPTModel,
        strategy: Strategy,
        forward: Forward,
        seed: int,
        on_progress: Callable[[Progress], None],
    ) -> History:
        torch.manual_seed(seed)
        optimizer = torch.optim.AdamW(
            strategy.param_groups(model), lr=strategy.learning_rate, weight_decay=strategy.weight_decay
        )
        loaders = row_loaders(self.dataset, self.config.batch_size)
        steps_per_epoch = len(loaders["train"])
        strategy.before_training(model, self.config.epochs, steps_per_epoch)
        events = protocol(loaders, self.config)
        history = train(
            model, strategy, forward, optimizer, events, self.config.epochs * steps_per_epoch, on_progress
        )
        model.zero_grad(set_to_none=True)
        return history

    def _save_and_test(
        self,
        model: GPTModel,
        forward: Forward,
        trained: list[str],
        variant: Variant,
        seed: int,
        directory: Path,
    ) -> tuple[Evaluation, list[str]]:
        """Save, reload onto a base with another random head, compare the two, and evaluate the reloaded one."""
        info = describe_classifier(
            variant, self.pretrained, self.dataset.label_names, self.dataset.max_length, self.config.position, seed
        )
        reloaded = rebuild(self.pretrained, variant.strategy, self.n_classes, seed + 1)
        info = save_classifier(directory, model, trained, reloaded, info)
        rows = torch.arange(min(self.config.batch_size, len(self.dataset.test)))
        with torch.inference_mode():
            before = forward.logits("test", rows)
        load_tensors(directory, reloaded, info)
        reloaded.to(self.options.device)
        again = ReferenceForward(reloaded, self.dataset, self.config, self.options.device)
        result = evaluate(again, "test", batches_of(row_loaders(self.dataset, self.config.batch_size)["test"]))
        difference = float((before.float().cpu() - result.logits[: len(rows)]).abs().max())
        if not difference <= 1e-4:
            raise TrainingError(f"the saved classifier does not reproduce the trained one (logits differ by {difference:g})")
        return result, _warnings(info.untrained_tensors or [])


def _warnings(untrained: list[str]) -> list[str]:
    if not untrained:
        return []
    return [f"the saved file holds {len(untrained)} tensors that are not trained, such as {untrained[0]}"]
