"""What a strategy costs whatever its weights have become: the work of a training step, and the time of an answer.

Measured on a fresh classifier, once for all runs of a variant. Variants whose models are put together alike share one
measurement of latency, so that no difference between them is noise.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from headtohead.core.classifier import Classifier, describe_classifier, rebuild
from headtohead.core.engine.engine import Engine
from headtohead.core.engine.outside import Outside
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import loss_of

BATCH = 64  # messages of the second latency
LONGEST = 60.0  # seconds that a batch may be expected to take; beyond that it is not measured
ENOUGH = 0.1  # seconds of repeats
LEAST, MOST = 3, 15  # repeats

Batch = tuple[Tensor, Tensor | None, Tensor]  # token_ids (B,T), position (B,) or None for all, labels (B,)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the text to its class: of one message, and of BATCH messages together (None: too long)."""

    one: float
    batch: float | None


@dataclass(frozen=True)
class Costs:
    """Of a variant; None where it is not known.

    Attributes:
        flops_per_step: floating-point operations of the first training step, computed the plain way.
        latency: as the classifier is after training.
        merged: the same after what was inserted is folded into the weights, where the strategy can do that.
        problem: why something could not be measured.
    """

    flops_per_step: int | None = None
    latency: Latency | None = None
    merged: Latency | None = None
    problem: str | None = None


class CostMeter:
    """Measures variants on one engine's model, messages and device, each once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._costs: dict[str, Costs] = {}
        self._latencies: dict[object, Latency] = {}

    def of(self, variant: Variant) -> Costs:
        """The costs of a variant; of a baseline none are known. An error is part of the result: no run ends by it."""
        if variant.label not in self._costs:
            with self.engine.drawing:
                self._costs[variant.label] = self._measured(variant)
        return self._costs[variant.label]

    def _measured(self, variant: Variant) -> Costs:
        strategy = variant.strategy
        if not isinstance(strategy, Strategy):
            return Costs()
        outside = Outside(strategy, self.engine.options.device)
        try:
            flops = step_flops(lambda: self._fresh(strategy), strategy, self._batch())
            model = self._fresh(strategy)
            latency, merged = self._latency(model, variant), None
            if strategy.merges:
                strategy.merge(model)
                merged = self._latency(model, variant)
            return Costs(flops, latency, merged)
        except Exception as error:  # noqa: BLE001 - the run itself will show it
            words = " ".join(f"{type(error).__name__}: {error}".split())
            return Costs(problem=f"work per step and latency could not be measured: {words[:200]}")
        finally:
            outside.put_back()

    def _fresh(self, strategy: Strategy) -> GPTModel:
        """A classifier as it is before its first step, in evaluation mode."""
        engine = self.engine
        model = rebuild(engine.pretrained, strategy, engine.n_classes, seed=0)
        strategy.before_training(model, engine.config.epochs, engine.steps_per_epoch)
        return model.to(engine.options.device)

    def _batch(self) -> Batch:
        """The first training messages."""
        train, size = self.engine.dataset.train, self.engine.config.batch_size
        position = self.engine.config.readout.positions(train.last_position, self.engine.dataset.max_length)
        token_ids, labels = train.token_ids[:size], train.labels[:size]
        return _on(
            self.engine.options.device, (token_ids, None if position is None else position[:size], labels)
        )

    def _latency(self, model: GPTModel, variant: Variant) -> Latency:
        key = structure(model)
        if key not in self._latencies:
            engine = self.engine
            info = describe_classifier(
                variant,
                engine.pretrained,
                engine.dataset.label_names,
                engine.dataset.max_length,
                engine.config.position,
                seed=0,
            )
            assert isinstance(variant.strategy, Strategy)
            classifier = Classifier(
                model.eval(), info, variant.strategy, engine.pretrained, engine.options.device
            )
            self._latencies[key] = measure_latency(classifier, engine.dataset.test.texts)
        return self._latencies[key]


def step_flops(build: Callable[[], GPTModel], strategy: Strategy, batch: Batch) -> int:
    """Floating-point operations of one training step, forward and backward, as torch counts them.

    Only products count, an addition and a multiplication as two; attention over all T positions, without the half that
    the causal mask spares. Shapes are all that it takes: nothing is computed, unless the model's code asks for values.
    """
    try:
        return _counted(build().to("meta"), strategy, _on("meta", batch))
    except (NotImplementedError, RuntimeError):  # torch's words for "this takes values"
        return _counted(build(), strategy, batch)


def _on(device: str, batch: Batch) -> Batch:
    token_ids, position, labels = batch
    return token_ids.to(device), None if position is None else position.to(device), labels.to(device)


def _counted(model: GPTModel, strategy: Strategy, batch: Batch) -> int:
    token_ids, position, labels = batch
    model.train()
    # The counter has no formula for the processor's fused attention, but one for the products that it stands for.
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _AllTogether()  # type: ignore[assignment]
    with sdpa_kernel(SDPBackend.MATH), counter:
        logits = model.class_logits(token_ids, position).float()
        loss_of(logits, labels, strategy.extra_loss(model)).backward()
    return int(counter.get_total_flops())


class _AllTogether:
    """Counts for no module in particular: torch's tracker of modules stops at those that run without gradients."""

    parents: ClassVar[set[str]] = {"Global"}

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None: ...


def measure_latency(classifier: Classifier, texts: Sequence[str]) -> Latency:
    """Medians over some repeats, tokenising included; a first call that only warms up is not counted."""
    messages = [texts[place % len(texts)] for place in range(BATCH)]
    one = _median_seconds(classifier, messages[:1])
    batch = _median_seconds(classifier, messages) if BATCH * one < LONGEST else None
    return Latency(1000 * one, None if batch is None else 1000 * batch)


def _median_seconds(classifier: Classifier, texts: Sequence[str]) -> float:
    """Seconds of one call; of the first one where it takes so long that warming up is no part of it worth naming."""
    times = [_seconds(classifier, texts)]
    if times[0] > ENOUGH:
        return times[0]
    times = []
    while len(times) < LEAST or (sum(times) < ENOUGH and len(times) < MOST):
        times.append(_seconds(classifier, texts))
    return statistics.median(times)


def _seconds(classifier: Classifier, texts: Sequence[str]) -> float:
    started = time.perf_counter()
    classifier.logits(texts)  # on the CPU when it returns: nothing is still being computed
    return time.perf_counter() - started


def structure(model: nn.Module) -> object:
    """Equal for models that are put together alike: the kinds of their modules and the shapes of their parameters."""
    kinds = tuple((name, type(module).__qualname__) for name, module in model.named_modules())
    hooked = tuple(
        name for name, module in model.named_modules() if module._forward_hooks or module._forward_pre_hooks
    )
    return kinds, hooked, tuple((name, tuple(each.shape)) for name, each in model.named_parameters())
