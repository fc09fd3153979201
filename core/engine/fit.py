"""One run from its seed to the finetuned classifier on disk, measured."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.classifier import (
    describe_classifier,
    load_tensors,
    make_classifier,
    rebuild,
    save_classifier,
    size_on_disk,
)
from core.data import Dataset
from core.engine.embedding import CompactEmbedding, decay_per_step
from core.engine.forward import PlannedForward, ReferenceForward
from core.engine.memory import peak_memory_bytes, reset_peak_memory
from core.engine.plan import ALL, Plan, derive, stage_tensors
from core.engine.prefix import PrefixCache, Stored
from core.engine.sequences import Sequences, distinct_sequences
from core.errors import TrainingError
from core.model import GPTModel
from core.strategy import Strategy, Variant, count_parameters, trainable_parameters
from core.training import (
    SPLITS,
    Evaluation,
    Forward,
    History,
    Progress,
    SplitName,
    TrainConfig,
    batches_of,
    evaluate,
    protocol,
    row_loaders,
    train,
)
from core.weights import Pretrained

OnProgress = Callable[[Progress], None]
REFERENCE = Plan()


@dataclass(frozen=True)
class EngineOptions:
    """Where and how to compute; none of it changes the protocol.

    Attributes:
        device: "cpu", "cuda", "cuda:N" or "mps".
        precision: "fp32", "tf32" or "bf16"; only fp32 claims the book's numbers.
        allowed: what plans may do; ``REFERENCE`` switches everything off.
        cache_dir: where hidden states of frozen stages are kept for later processes; None for this one only.
        cache_budget: bytes of hidden states that may be kept in memory; None for half of what is available.
    """

    device: str = "cpu"
    precision: str = "fp32"
    allowed: Plan = ALL
    cache_dir: Path | None = None
    cache_budget: int | None = None

    @property
    def reference(self) -> bool:
        """Whether everything is computed as the chapter does."""
        return self.allowed == REFERENCE


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


@dataclass
class _Job:
    """A model being finetuned, and how it is computed."""

    variant: Variant
    seed: int
    model: GPTModel
    plan: Plan
    forward: Forward
    compact: CompactEmbedding | None = None
    stored: Stored | None = None
    words: list[str] = field(default_factory=list)


class Engine:
    """Runs strategies on one pretrained model and one data set under one protocol."""

    def __init__(
        self, pretrained: Pretrained, dataset: Dataset, config: TrainConfig, options: EngineOptions | None = None
    ) -> None:
        self.pretrained = pretrained
        self.dataset = dataset
        self.config = config
        self.options = options or EngineOptions()
        self.n_classes = len(dataset.label_names)
        self._sequences = distinct_sequences(dataset, config)
        self._labels: dict[SplitName, Tensor] = {
            name: getattr(dataset, name).labels.to(self.options.device) for name in SPLITS
        }
        self._prefix = PrefixCache(
            self._sequences,
            pretrained.config.n_layers,
            pretrained.config.emb_dim,
            pretrained.sha256,
            device=self.options.device,
            budget=self.options.cache_budget,
            folder=self.options.cache_dir,
        )
        self._cuts: set[int] = set()

    def count(self, variant: Variant) -> tuple[int, int]:
        """Trainable and total parameters of a variant, without training it.

        The engine also remembers which hidden states the variant will need, so that the first run's pass over
        the data can leave those of all.
        """
        model = rebuild(self.pretrained, variant.strategy, self.n_classes, seed=0)
        self._cuts.add(self._plan(model, variant.strategy).cut)
        return count_parameters(trainable_parameters(model)), count_parameters(model.parameters())

    def fit(
        self, variant: Variant, seed: int, classifier_dir: Path, on_progress: OnProgress = lambda progress: None
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
            model = self._fresh(variant, seed)
            trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
            counts = count_parameters(trainable_parameters(model)), count_parameters(model.parameters())
            plan = self._plan(model, variant.strategy)
        with clock.measure("prefix"):
            stored = self._hidden_states(plan, on_progress)
        with clock.measure("train"):
            job = self._job(variant, seed, model, plan, stored)
            history = self._train(job, on_progress)
        peak = peak_memory_bytes(device)
        with clock.measure("eval"):
            # The book evaluates train, validation and test in this order; the loaders draw accordingly.
            loaders = row_loaders(self.dataset, self.config.batch_size)
            train_result = evaluate(job.forward, "train", batches_of(loaders["train"]))
            validation_result = evaluate(job.forward, "validation", batches_of(loaders["validation"]))
            test_result, warnings = self._save_and_test(job, trained, classifier_dir)
        return Outcome(
            history=history,
            train=train_result,
            validation=validation_result,
            test=test_result,
            trainable_params=counts[0],
            total_params=counts[1],
            classifier_bytes=size_on_disk(classifier_dir),
            plan=plan.as_dict(job.words),
            setup_seconds=clock.seconds["setup"],
            prefix_seconds=stored.seconds if stored else 0.0,
            train_seconds=clock.seconds["train"],
            eval_seconds=clock.seconds["eval"],
            peak_memory_bytes=peak,
            warnings=warnings if exact_peak else [*warnings, "peak memory covers earlier runs of this process, too"],
        )

    def _fresh(self, variant: Variant, seed: int) -> GPTModel:
        """A classifier to train, on the device."""
        model = self.pretrained.build()
        make_classifier(model, variant.strategy, self.n_classes, seed)
        return model.to(self.options.device)

    def _plan(self, model: GPTModel, strategy: Strategy) -> Plan:
        """The plan for a model, checked against what this engine can keep and against the pretrained weights."""
        if self.options.reference:
            return REFERENCE
        plan = derive(model, strategy, strategy.low_rank(model), self.options.allowed)
        if plan.cut and (why := self._prefix.why_not(plan.cut)):
            plan = plan.without_prefix(f"nothing is computed once: {why}")
        if plan.cut and not self._is_pretrained(model, plan.cut):
            plan = plan.without_prefix("nothing is computed once: the strategy changes frozen weights when it is applied")
        return plan

    def _is_pretrained(self, model: GPTModel, cut: int) -> bool:
        pretrained = dict(stage_tensors(self.pretrained.build(), cut))
        return all(torch.equal(tensor.cpu(), pretrained[name]) for name, tensor in stage_tensors(model, cut))

    def _hidden_states(self, plan: Plan, on_progress: OnProgress) -> Stored | None:
        if not plan.cut:
            return None
        others = sorted(cut for cut in self._cuts if cut)
        return self._prefix.get(
            plan.cut,
            others,
            self.pretrained.build,
            lambda done, total: on_progress(Progress(done, total, None, "frozen blocks, once per message")),
        )

    def _job(self, variant: Variant, seed: int, model: GPTModel, plan: Plan, stored: Stored | None) -> _Job:
        sequences, compact = self._sequences.to(self.options.device), None
        if plan.compact_embedding:
            compact = CompactEmbedding(model, sequences)
            sequences = compact.sequences
        forward = self._forward(model, variant.strategy, plan, stored, sequences)
        return _Job(variant, seed, model, plan, forward, compact, stored, self._words(plan, stored, compact))

    def _forward(
        self, model: GPTModel, strategy: Strategy, plan: Plan, stored: Stored | None, sequences: Sequences
    ) -> Forward:
        if not plan.restructured and not plan.cut:
            return ReferenceForward(model, self.dataset, self.config, self.options.device)
        changes = type(strategy).after_step is not Strategy.after_step
        return PlannedForward(
            model, sequences, self._labels, plan, stored, strategy.low_rank(model), fixed=not changes
        )

    def _train(self, job: _Job, on_progress: OnProgress) -> History:
        strategy, model = job.variant.strategy, job.model
        torch.manual_seed(job.seed)
        optimizer = torch.optim.AdamW(
            strategy.param_groups(model),
            lr=strategy.learning_rate,
            weight_decay=strategy.weight_decay,
            fused=True if job.plan.fused_optimizer else None,
        )
        loaders = row_loaders(self.dataset, self.config.batch_size)
        steps_per_epoch = len(loaders["train"])
        strategy.before_training(model, self.config.epochs, steps_per_epoch)
        events = protocol(loaders, self.config)
        total_steps = self.config.epochs * steps_per_epoch
        history = train(model, strategy, job.forward, optimizer, events, total_steps, on_progress)
        model.zero_grad(set_to_none=True)
        if job.compact is not None:
            job.compact.expand(decay_per_step(optimizer, model.tok_emb.weight), history.steps)
            job.forward = self._forward(model, strategy, job.plan, job.stored, self._sequences.to(self.options.device))
        return history

    def _save_and_test(self, job: _Job, trained: list[str], directory: Path) -> tuple[Evaluation, list[str]]:
        """Save, reload onto a base with another random head, compare the two, and evaluate the reloaded one."""
        strategy = job.variant.strategy
        info = describe_classifier(
            job.variant,
            self.pretrained,
            self.dataset.label_names,
            self.dataset.max_length,
            self.config.position,
            job.seed,
        )
        reloaded = rebuild(self.pretrained, strategy, self.n_classes, job.seed + 1)
        info = save_classifier(directory, job.model, trained, reloaded, info)
        load_tensors(directory, reloaded, info)
        reloaded.to(self.options.device)
        sequences = self._sequences.to(self.options.device)
        again = self._forward(reloaded, strategy, job.plan, job.stored, sequences)
        batches = batches_of(row_loaders(self.dataset, self.config.batch_size)["test"])
        result = evaluate(again, "test", batches)
        before = evaluate(job.forward, "test", batches[:1]).logits
        difference = float((before - result.logits[: len(before)]).abs().max())
        if not difference <= 1e-4:
            raise TrainingError(
                f"the saved classifier does not reproduce the trained one (its logits differ by {difference:g})"
            )
        return result, _warnings(info.untrained_tensors or [])

    def _words(self, plan: Plan, stored: Stored | None, compact: CompactEmbedding | None) -> list[str]:
        """The plan in words, for people."""
        rows = sum(len(numbers) for numbers in self._sequences.of_row.values())
        return plan_words(plan, self.pretrained.config.n_layers, stored, self._sequences, rows, compact)


def plan_words(
    plan: Plan,
    n_blocks: int,
    stored: Stored | None,
    sequences: Sequences,
    rows: int,
    compact: CompactEmbedding | None,
) -> list[str]:
    """What a plan does, one sentence each."""
    words = []
    if stored is not None:
        what = {n_blocks + 2: "everything but the head", n_blocks + 1: "all blocks"}.get(
            plan.cut, f"the embeddings and blocks 0 to {plan.cut - 2}"
        )
        words.append(f"{what}: once per distinct message ({len(sequences):,} of {rows:,}), {stored.words}")
    if plan.restructured and sequences.equal_length is None:
        mean = float(sequences.lengths.float().mean())
        words.append(f"no work on padding: {mean:.1f} tokens per message instead of all positions")
    if plan.last_position and plan.cut <= n_blocks:
        how = ", without keys and values" if plan.associative else ""
        words.append(f"block {n_blocks - 1} at the position of the class only{how}")
    if plan.merged:
        words.append("inserted low-rank updates merged into one weight once per step")
    if compact is not None:
        words.append(f"token embedding trained by the {len(compact.used):,} rows that occur; the others only decay")
    if plan.fused_optimizer:
        words.append("AdamW in one fused call")
    words += plan.notes
    return words or ["reference path: every message through the whole model at every step"]


def _warnings(untrained: list[str]) -> list[str]:
    if not untrained:
        return []
    return [f"the saved file holds {len(untrained)} tensors that are not trained, such as {untrained[0]}"]
