"""What the runs of an experiment share: weights, messages, hidden states, and the plans that follow from them."""

import copy
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from headtohead.core.data import Dataset
from headtohead.core.device import check_bf16
from headtohead.core.engine.allocator import keep_freed_memory
from headtohead.core.engine.baseline import fit_baseline
from headtohead.core.engine.facts import overridden
from headtohead.core.engine.fit import fit_run
from headtohead.core.engine.forward import AutocastForward, PlannedForward, ReferenceForward
from headtohead.core.engine.inspection import Inspection, inspect_strategy
from headtohead.core.engine.options import WHOLE, EngineOptions, Job, OnProgress, Outcome, Part
from headtohead.core.engine.outside import Outside
from headtohead.core.engine.plan import REFERENCE, Plan, derive, in_words, stage_tensors
from headtohead.core.engine.prefix import PrefixCache, Stored
from headtohead.core.engine.products import MKL, find_products, onednn_works
from headtohead.core.engine.recompute import RecomputedForward
from headtohead.core.engine.sequences import Sequences, distinct_sequences
from headtohead.core.engine.threads import SMALL, threads_per_product
from headtohead.core.engine.verify import PlanFailed
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.resplit import places, resplit
from headtohead.core.sample import balanced_rows
from headtohead.core.strategy import Baseline, Strategy, Variant
from headtohead.core.training import (
    SPLITS,
    Forward,
    Loaders,
    Progress,
    SplitName,
    TrainConfig,
    balanced_weights,
    row_loaders,
)
from headtohead.core.weights import Pretrained


class Engine:
    """Runs strategies on one pretrained model and one data set under one protocol.

    Args:
        pretrained: the weights that every run starts from.
        dataset: the messages.
        config: the protocol.
        options: where and how to compute.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        dataset: Dataset,
        config: TrainConfig,
        options: EngineOptions | None = None,
    ) -> None:
        # The model as this protocol has it: whether its attention is causal belongs to it, not to the weights.
        self.pretrained = replace(pretrained, config=replace(pretrained.config, causal=config.causal))
        self.dataset = dataset
        self.config = config
        self.part = WHOLE
        self.options = options or EngineOptions()
        _set_matmul_precision(self.options)
        if self.options.device == "cpu" and not self.options.reference:
            keep_freed_memory()
            torch.set_num_threads(threads_per_product(pretrained.config.emb_dim))
        self.n_classes = len(dataset.label_names)
        if config.outputs == 1 and self.n_classes != 2:
            raise InputError(
                f"--outputs 1 tells two classes apart, but {dataset.name} has {self.n_classes}; "
                "leave it out for one output per class"
            )
        train_labels = dataset.train.labels
        self.class_weights = (
            balanced_weights(train_labels, self.n_classes).to(self.options.device)
            if config.class_weights
            else None
        )
        self.allowed = _possible(self.options, pretrained.config.emb_dim)
        self.products = find_products(pretrained.config.emb_dim) if self.allowed.onednn else MKL
        self.sequences = distinct_sequences(dataset, config)
        self.labels: dict[SplitName, Tensor] = {
            name: getattr(dataset, name).labels.to(self.options.device) for name in SPLITS
        }
        self.prefix = PrefixCache(
            self.sequences,
            pretrained.config.n_layers,
            pretrained.config.emb_dim,
            pretrained.sha256,
            device=self.options.device,
            budget=self.options.cache_budget,
            folder=self.options.cache_dir,
            products=self.products,
            half=self.options.half_prefix,
        )
        self._inspected: dict[str, Inspection] = {}
        self.language_loss: float | None = None  # of the pretrained model, once it was measured
        self._parts: dict[Part, Engine] = {self.part: self}
        self.agreed: set[object] = set()  # what was compared already and holds for every run of that kind
        # Runs that share the process draw from torch's one generator: seeding and drawing belong together.
        self.drawing = threading.RLock()
        _load_optimizer_code()

    def of(self, part: Part) -> "Engine":
        """This engine for runs that get a part of the data or of the protocol; what was computed once is shared."""
        if part not in self._parts:
            engine = copy.copy(self._parts[WHOLE])
            engine.part = part
            if part.epochs is not None:
                engine.config = replace(engine.config, epochs=part.epochs)
            if part.split is not None:
                engine._split(part.split)
            self._parts[part] = engine
        return self._parts[part]

    def _split(self, name: str) -> None:
        """Put the messages into other splits; they stay the same sequences, whose hidden states are kept."""
        found = places(self.dataset, name)
        numbers = torch.cat([self.sequences.of_row[split] for split in SPLITS])
        self.dataset = resplit(self.dataset, found)
        self.sequences = replace(
            self.sequences, of_row={split: numbers[rows] for split, rows in found.items()}
        )
        self.labels = {split: getattr(self.dataset, split).labels.to(self.options.device) for split in SPLITS}

    def train_rows(self, seed: int) -> list[int] | None:
        """The rows of train that a run with that seed may see; None for all."""
        if self.part.train_size is None:
            return None
        return balanced_rows(self.dataset.train.labels.tolist(), self.part.train_size, seed)

    def loaders(self, seed: int) -> Loaders:
        """The loaders of a run with that seed."""
        splits = SPLITS if self.part.test else SPLITS[:2]
        return row_loaders(self.dataset, self.config.batch_size, self.train_rows(seed), splits)

    @property
    def updates_per_epoch(self) -> int:
        """Of the parameters: steps, unless gradients are accumulated."""
        return -(-self.steps_per_epoch // self.config.accumulation_steps)

    @property
    def steps_per_epoch(self) -> int:
        """Without the last partial batch."""
        return (self.part.train_size or len(self.dataset.train)) // self.config.batch_size

    def fit(
        self,
        variant: Variant,
        seed: int,
        classifier_dir: Path,
        on_progress: OnProgress = lambda progress: None,
    ) -> Outcome:
        """Train one variant under one seed and leave its classifier in ``classifier_dir``.

        The accuracy on test is that of the classifier reloaded from disk, so a file that does not reproduce the
        model cannot earn a row.

        Raises:
            TrainingError: the loss is not finite, or the reloaded classifier differs from the trained one.
        """
        if isinstance(variant.strategy, Baseline):
            return fit_baseline(self, variant.strategy, seed, on_progress)
        job = Job(variant, seed, classifier_dir)
        outside = Outside(variant.strategy, self.options.device)
        try:
            return fit_run(self, job, on_progress)
        except PlanFailed as changed:
            outside.put_back()
            return fit_run(self, job, on_progress, distrust=str(changed))

    def inspect(self, variant: Variant) -> Inspection:
        """What a variant trains and how, without training it.

        The engine remembers which hidden states the variant will need, so that the first run's pass over the
        data can leave those of all.
        """
        key = repr(variant)  # a label may stand for several settings, a tuned one and the defaults
        if key not in self._inspected:
            self._inspected[key] = inspect_strategy(self, variant.strategy)
        return self._inspected[key]

    def cuts(self, variants: Iterable[Variant]) -> list[int]:
        """The cuts at which these variants read hidden states; one that cannot be inspected reads none."""
        found = set()
        for variant in variants:
            with suppress(Exception):  # its run will fail with the same error, and be recorded so
                found.add(self.inspect(variant).cut)
        return sorted(found - {0})

    def optimizer_of(self, model: GPTModel, strategy: Strategy, *, fused: bool) -> torch.optim.Optimizer:
        """AdamW with the strategy's groups and settings."""
        return torch.optim.AdamW(
            strategy.param_groups(model),
            lr=strategy.learning_rate,
            weight_decay=strategy.weight_decay,
            fused=True if fused else None,
        )

    def plan_of(self, model: GPTModel, strategy: Strategy) -> Plan:
        """The plan for a model, held against what this engine can keep and against the pretrained weights."""
        if self.options.reference:
            return REFERENCE
        plan = derive(model, strategy, strategy.low_rank(model), self.allowed, self.config.readout)
        if plan.cut and (why := self.prefix.why_not(plan.cut)):
            plan = plan.without_prefix(f"nothing is computed once: {why}")
        if plan.cut and not self._is_pretrained(model, plan.cut):
            plan = plan.without_prefix(
                "nothing is computed once: the strategy changes frozen weights as it is applied"
            )
        return plan

    def _is_pretrained(self, model: GPTModel, cut: int) -> bool:
        pretrained = dict(stage_tensors(self.pretrained.build(), cut))
        return all(torch.equal(tensor.cpu(), pretrained[name]) for name, tensor in stage_tensors(model, cut))

    def hidden_states(self, cut: int, on_progress: OnProgress) -> Stored:
        """The hidden states at a cut; the pass that is needed for them leaves those of all inspected variants."""
        with self.drawing:  # one pass, whoever asks first
            return self.prefix.get(
                cut,
                sorted({seen.cut for seen in self._inspected.values()} - {0}),
                self.pretrained.build,
                lambda done, total: on_progress(
                    Progress(done, total, None, "frozen blocks, once per message", preparing=True)
                ),
            )

    def forward_of(
        self,
        model: GPTModel,
        strategy: Strategy,
        plan: Plan,
        stored: Stored | None,
        sequences: Sequences,
        *,
        trial: bool = False,
    ) -> Forward:
        """The forward of a plan; on trial, in full precision and not compiled."""
        device, half = self.options.device, plan.half and not trial
        forward: Forward
        if plan.restructured or plan.cut:
            forward = PlannedForward(
                model,
                sequences,
                self.labels,
                plan,
                stored,
                strategy.low_rank(model),
                fixed=not overridden(strategy) & {"before_training", "after_step"},
                compiled=self.options.compile and not trial,
                recompute=self.options.recompute,
                products=self.products if plan.onednn else MKL,
                half=half,
            )
        else:
            forward = ReferenceForward(model, self.dataset, self.config, device)
        if self.options.recompute and not plan.restructured:
            forward = RecomputedForward(forward, model)
        rounded = self.options.precision == "bf16" and not (trial or half)
        return AutocastForward(forward, device) if rounded else forward

    def words(self, plan: Plan, stored: Stored | None, rows_of_embedding: int | None) -> list[str]:
        """What a plan and the options do, one sentence each."""
        n_blocks = self.pretrained.config.n_layers
        words = in_words(plan, n_blocks, stored, self.sequences, rows_of_embedding, self.products)
        recomputes = self.options.recompute and plan.cut <= n_blocks
        return [*words, "blocks computed again in the backward pass, to save memory"] if recomputes else words


def _possible(options: EngineOptions, emb_dim: int) -> Plan:
    """What is allowed and can be done with this precision, device and size of model."""
    allowed, fp32 = options.allowed, options.precision == "fp32"
    half = (
        options.precision == "bf16" and options.device == "cpu" and not (options.compile or options.reference)
    )
    # Where layers are called under autocast, merging would add bfloat16 rounding to the weights themselves. Small
    # products gain nothing by oneDNN, which makes a kernel for every shape that it meets.
    plain = fp32 and not options.compile  # a compiler brings its own choice
    onednn = allowed.onednn and plain and options.device == "cpu" and emb_dim >= SMALL and onednn_works()
    merged = allowed.merged and (options.precision != "bf16" or half)
    return replace(allowed, merged=merged, onednn=onednn, half=half)


def _set_matmul_precision(options: EngineOptions) -> None:
    """TF32 is a switch of the whole process in torch; other precisions switch it off."""
    on_cuda = options.device.startswith("cuda")
    if options.precision == "tf32" and not on_cuda:
        raise InputError(f"--precision tf32 needs a CUDA device, not {options.device}; use fp32 or bf16")
    if options.precision == "bf16" and options.device == "cpu":
        check_bf16()
    if on_cuda:
        torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"


def _load_optimizer_code() -> None:
    """Torch imports its compiler with the first optimizer, which takes seconds that belong to no run."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter]).step()
