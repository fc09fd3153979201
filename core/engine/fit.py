"""One run from its seed to the finetuned classifier on disk, measured."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from headtohead.core.classifier import (
    describe_classifier,
    load_tensors,
    make_classifier,
    rebuild,
    save_classifier,
    size_on_disk,
    untrained_differences,
)
from headtohead.core.data import Dataset
from headtohead.core.engine.allocator import keep_freed_memory
from headtohead.core.engine.baseline import WORDS, fit_baseline
from headtohead.core.engine.embedding import CompactEmbedding, decay_per_step
from headtohead.core.engine.forward import AutocastForward, PlannedForward, ReferenceForward
from headtohead.core.engine.meter import Meter
from headtohead.core.engine.options import EngineOptions, Job, Outcome
from headtohead.core.engine.plan import (
    REFERENCE,
    Plan,
    derive,
    in_words,
    may_change_what_trains,
    stage_tensors,
)
from headtohead.core.engine.prefix import PrefixCache, Stored
from headtohead.core.engine.products import onednn_pays
from headtohead.core.engine.sequences import Sequences, distinct_sequences
from headtohead.core.engine.threads import SMALL, threads_per_product
from headtohead.core.errors import InputError, TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import (
    Baseline,
    Method,
    Strategy,
    Variant,
    count_parameters,
    trainable_parameters,
)
from headtohead.core.training import (
    SPLITS,
    Evaluation,
    Event,
    Forward,
    History,
    Progress,
    SplitName,
    TrainConfig,
    evaluate,
    protocol,
    row_loaders,
    train,
)
from headtohead.core.weights import Pretrained

OnProgress = Callable[[Progress], None]
SAME_LOGITS = 1e-4  # a reloaded classifier may differ from the trained one by rounding, not more
SAME_LAYERS = 1e-3  # of the largest logit: inserted layers computed in another order


@dataclass
class TrainingRun:
    """A model being finetuned: what is trained, how it is computed, and what it has measured."""

    job: Job
    strategy: Strategy
    model: GPTModel
    plan: Plan
    stored: Stored | None
    meter: Meter
    forward: Forward
    compact: CompactEmbedding | None
    trainable_params: int
    total_params: int
    rebuilt: GPTModel | None = None  # for reloading; runs that train the head alone share one
    untrained: list[str] = field(default_factory=list)  # tensors that are saved although they are not trained


@dataclass(frozen=True)
class Inspection:
    """What is known of a variant before its runs.

    Attributes:
        trainable_params, total_params: None for a baseline.
        cut: how many stages are computed once per distinct message.
        only_head: a plain head is trained and nothing else.
        words: how its runs are computed.
        restructured: the engine's own blocks compute what lies behind the cut.
    """

    trainable_params: int | None
    total_params: int | None
    cut: int
    only_head: bool
    words: list[str]
    restructured: bool = False


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
        self.pretrained = pretrained
        self.dataset = dataset
        self.config = config
        self.options = options or EngineOptions()
        _set_matmul_precision(self.options)
        if self.options.device == "cpu" and not self.options.reference:
            keep_freed_memory()
            torch.set_num_threads(threads_per_product(pretrained.config.emb_dim))
        self.n_classes = len(dataset.label_names)
        self._allowed = _possible(self.options, pretrained.config.emb_dim)
        self.sequences = distinct_sequences(dataset, config)
        self.labels: dict[SplitName, Tensor] = {
            name: getattr(dataset, name).labels.to(self.options.device) for name in SPLITS
        }
        self._prefix = PrefixCache(
            self.sequences,
            pretrained.config.n_layers,
            pretrained.config.emb_dim,
            pretrained.sha256,
            device=self.options.device,
            budget=self.options.cache_budget,
            folder=self.options.cache_dir,
            onednn=self._allowed.onednn,
        )
        self._inspected: dict[str, Inspection] = {}
        # Runs that share the process draw from torch's one generator: seeding and drawing belong together.
        self.drawing = threading.RLock()
        _load_optimizer_code()

    def inspect(self, variant: Variant) -> "Inspection":
        """What a variant trains and how, without training it.

        The engine remembers which hidden states the variant will need, so that the first run's pass over the
        data can leave those of all.
        """
        if variant.label not in self._inspected:
            self._inspected[variant.label] = self._inspect(variant.strategy)
        return self._inspected[variant.label]

    def _inspect(self, strategy: Method) -> "Inspection":
        n_blocks = self.pretrained.config.n_layers
        if isinstance(strategy, Baseline):
            cut = n_blocks + 2 if strategy.reads == "features" else 0
            return Inspection(None, None, cut, False, WORDS)
        with self.drawing:
            model = rebuild(self.pretrained, strategy, self.n_classes, seed=0)
        plan, trained = self._plan(model, strategy), trainable_parameters(model)
        return Inspection(
            count_parameters(trained),
            count_parameters(model.parameters()),
            plan.cut,
            plan.cut == n_blocks + 2 and _trains_plain_head_only(model, strategy),
            in_words(plan, n_blocks, None, self.sequences, None),
            plan.restructured,
        )

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
            return self._fit_baseline(variant.strategy, seed, on_progress)
        run = self.prepare(Job(variant, seed, classifier_dir), on_progress)
        torch.manual_seed(seed)
        history = self.train(
            run, protocol(row_loaders(self.dataset, self.config.batch_size), self.config), on_progress
        )
        return self.finish(run, history)

    def _fit_baseline(self, baseline: Baseline, seed: int, on_progress: OnProgress) -> Outcome:
        """A baseline's row; features are the hidden states behind the final norm, where a classifier reads."""
        if baseline.reads == "texts":
            return fit_baseline(baseline, self.dataset, None, 0, seed)
        stored = self._hidden_states(self.pretrained.config.n_layers + 2, on_progress)
        hidden = stored.hidden.cpu()
        features = {name: hidden[self.sequences.of_row[name]] for name in SPLITS}
        gpt_params = count_parameters(self.pretrained.build().parameters())
        outcome = fit_baseline(baseline, self.dataset, features, gpt_params, seed)
        return replace(outcome, prefix_seconds=stored.seconds)

    # --- the parts of a run, which groups of runs use, too -----------------------------------------------------

    def prepare(self, job: Job, on_progress: OnProgress) -> TrainingRun:
        """A fresh model with its plan, ready to be trained; hidden states are computed where they are missing."""
        strategy = job.variant.strategy
        assert isinstance(strategy, Strategy)
        meter = Meter(self.options.device)
        with meter.measure("setup"):
            with self.drawing:
                model = self.pretrained.build()
                make_classifier(model, strategy, self.n_classes, job.seed)
            model.to(self.options.device)
            counts = count_parameters(trainable_parameters(model)), count_parameters(model.parameters())
            plan = self._plan(model, strategy)
        with meter.measure("prefix"):
            stored = self._hidden_states(plan.cut, on_progress) if plan.cut else None
        with meter.measure("setup"):
            plan = self._checked_plan(model, strategy, plan, stored)
            compact = CompactEmbedding(model, self.sequences) if plan.compact_embedding else None
            sequences = compact.sequences if compact else self.sequences
            forward = self._forward(model, strategy, plan, stored, sequences)
        return TrainingRun(job, strategy, model, plan, stored, meter, forward, compact, *counts)

    def train(self, run: TrainingRun, events: Iterable[Event], on_progress: OnProgress) -> History:
        """Train a prepared run by the events of its protocol, drawn from a generator seeded for it."""
        strategy, model = run.strategy, run.model
        with run.meter.measure("train"):
            optimizer = torch.optim.AdamW(
                strategy.param_groups(model),
                lr=strategy.learning_rate,
                weight_decay=strategy.weight_decay,
                fused=True if run.plan.fused_optimizer else None,
            )
            steps_per_epoch = len(self.dataset.train) // self.config.batch_size
            strategy.before_training(model, self.config.epochs, steps_per_epoch)
            total_steps = self.config.epochs * steps_per_epoch
            history = train(model, strategy, run.forward, optimizer, events, total_steps, on_progress)
            model.zero_grad(set_to_none=True)
            if run.compact is not None:
                run.compact.expand(decay_per_step(optimizer, model.tok_emb.weight), history.steps)
                run.forward = self._forward(model, strategy, run.plan, run.stored, self.sequences)
        return history

    def finish(self, run: TrainingRun, history: History) -> Outcome:
        """Save a trained run, reload it onto a base with another random head, and evaluate the reloaded one."""
        meter, peak = run.meter, run.meter.peak_memory_bytes()
        batches = history.final_batches
        with meter.measure("eval"):
            train_result = evaluate(run.forward, "train", batches["train"])
            validation_result = evaluate(run.forward, "validation", batches["validation"])
            reloaded, warnings = self._save_and_reload(run)
            test_result = evaluate(reloaded, "test", batches["test"])
            _check_reproduced(evaluate(run.forward, "test", batches["test"][:1]), test_result)
        if not meter.exact_peak:
            warnings.append("peak memory covers earlier runs of this process, too")
        compact_rows = len(run.compact.used) if run.compact else None
        words = in_words(run.plan, self.pretrained.config.n_layers, run.stored, self.sequences, compact_rows)
        return Outcome(
            history=history,
            train=train_result,
            validation=validation_result,
            test=test_result,
            trainable_params=run.trainable_params,
            total_params=run.total_params,
            classifier_bytes=size_on_disk(run.job.directory),
            plan=run.plan.as_dict(words),
            setup_seconds=meter.seconds["setup"],
            prefix_seconds=run.stored.seconds if run.stored else None,
            train_seconds=meter.seconds["train"],
            eval_seconds=meter.seconds["eval"],
            peak_memory_bytes=peak,
            warnings=warnings,
        )

    def _save_and_reload(self, run: TrainingRun) -> tuple[Forward, list[str]]:
        job = run.job
        info = describe_classifier(
            job.variant,
            self.pretrained,
            self.dataset.label_names,
            self.dataset.max_length,
            self.config.position,
            job.seed,
        )
        if run.rebuilt is None:
            with self.drawing:
                run.rebuilt = rebuild(self.pretrained, run.strategy, self.n_classes, job.seed + 1)
            run.untrained = untrained_differences(run.model, run.rebuilt)
        info = save_classifier(job.directory, run.model, run.untrained, info)
        load_tensors(job.directory, run.rebuilt, info)
        run.rebuilt.to(self.options.device)
        return self._forward(run.rebuilt, run.strategy, run.plan, run.stored, self.sequences), _warnings(
            run.untrained
        )

    # --- plans -------------------------------------------------------------------------------------------------

    def _plan(self, model: GPTModel, strategy: Strategy) -> Plan:
        """The plan for a model, held against what this engine can keep and against the pretrained weights."""
        if self.options.reference:
            return REFERENCE
        plan = derive(model, strategy, strategy.low_rank(model), self._allowed)
        if plan.cut and (why := self._prefix.why_not(plan.cut)):
            plan = plan.without_prefix(f"nothing is computed once: {why}")
        if plan.cut and not self._is_pretrained(model, plan.cut):
            plan = plan.without_prefix(
                "nothing is computed once: the strategy changes frozen weights as it is applied"
            )
        return plan

    def _is_pretrained(self, model: GPTModel, cut: int) -> bool:
        pretrained = dict(stage_tensors(self.pretrained.build(), cut))
        return all(torch.equal(tensor.cpu(), pretrained[name]) for name, tensor in stage_tensors(model, cut))

    def _checked_plan(self, model: GPTModel, strategy: Strategy, plan: Plan, stored: Stored | None) -> Plan:
        """Compare one batch of a model with inserted layers with the reference path before trusting its plan.

        Inserted layers may start as the identity, so the comparison is made with their parameters disturbed.
        """
        ours = ("torch.", "headtohead.core.")
        inserted = [module for module in model.modules() if not type(module).__module__.startswith(ours)]
        if not plan.restructured or not inserted:
            return plan
        rows = torch.arange(min(self.config.batch_size, len(self.dataset.train)))
        reference = ReferenceForward(model, self.dataset, self.config, self.options.device)
        planned = self._forward(model, strategy, plan, stored, self.sequences)
        with torch.no_grad(), disturbed(trainable_parameters(model)):
            expected, found = reference.logits("train", rows), planned.logits("train", rows)
        scale = max(1.0, float(expected.abs().max()))
        if float((expected - found).abs().max()) <= SAME_LAYERS * scale:
            return plan
        return plan.without_restructuring(
            "the model's own modules are called: inserted layers do not act token by token"
        )

    def _hidden_states(self, cut: int, on_progress: OnProgress) -> Stored:
        with self.drawing:  # one pass, whoever asks first
            return self._prefix.get(
                cut,
                sorted({seen.cut for seen in self._inspected.values()} - {0}),
                self.pretrained.build,
                lambda done, total: on_progress(
                    Progress(done, total, None, "frozen blocks, once per message", preparing=True)
                ),
            )

    def _forward(
        self, model: GPTModel, strategy: Strategy, plan: Plan, stored: Stored | None, sequences: Sequences
    ) -> Forward:
        device = self.options.device
        forward: Forward
        if plan.restructured or plan.cut:
            forward = PlannedForward(
                model,
                sequences,
                self.labels,
                plan,
                stored,
                strategy.low_rank(model),
                fixed=not may_change_what_trains(strategy),
                compiled=self.options.compile,
            )
        else:
            forward = ReferenceForward(model, self.dataset, self.config, device)
        return AutocastForward(forward, device) if self.options.precision == "bf16" else forward


def _possible(options: EngineOptions, emb_dim: int) -> Plan:
    """What is allowed and can be done with this precision, device and size of model."""
    allowed, fp32 = options.allowed, options.precision == "fp32"
    # Merging would add bfloat16 rounding to the weights themselves. Small products gain nothing by oneDNN, which
    # makes a kernel for every shape that it meets.
    onednn = allowed.onednn and fp32 and options.device == "cpu" and emb_dim >= SMALL and onednn_pays()
    return replace(allowed, merged=allowed.merged and options.precision != "bf16", onednn=onednn)


def _trains_plain_head_only(model: GPTModel, strategy: Strategy) -> bool:
    """Whether a run is nothing but AdamW with one learning rate on a linear head."""
    own = (
        "learning_rate_of",
        "weight_decay_of",
        "param_groups",
        "before_training",
        "extra_loss",
        "after_step",
    )
    plain = all(getattr(type(strategy), name) is getattr(Strategy, name) for name in own)
    head = model.out_head
    if not plain or type(head) is not nn.Linear or head.bias is None:
        return False
    return {id(each) for each in trainable_parameters(model)} == {id(head.weight), id(head.bias)}


class disturbed:
    """Parameters with noise added inside a ``with`` block, bit-equal to before after it."""

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = parameters

    def __enter__(self) -> None:
        self.kept = [parameter.detach().clone() for parameter in self.parameters]
        generator = torch.Generator().manual_seed(0)
        for parameter in self.parameters:
            noise = 0.02 * torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(noise.to(parameter.device))

    def __exit__(self, *exception: object) -> None:
        for parameter, kept in zip(self.parameters, self.kept, strict=True):
            parameter.data.copy_(kept)


def _check_reproduced(trained: Evaluation, reloaded: Evaluation) -> None:
    difference = float((trained.logits - reloaded.logits[: len(trained.logits)]).abs().max())
    if not difference <= SAME_LOGITS:
        raise TrainingError(
            f"the saved classifier does not reproduce the trained one (its logits differ by {difference:g})"
        )


def _warnings(untrained: list[str]) -> list[str]:
    if not untrained:
        return []
    return [f"the saved file holds {len(untrained)} tensors that are not trained, such as {untrained[0]}"]


def _set_matmul_precision(options: EngineOptions) -> None:
    """TF32 is a switch of the whole process in torch; other precisions switch it off."""
    on_cuda = options.device.startswith("cuda")
    if options.precision == "tf32" and not on_cuda:
        raise InputError(f"--precision tf32 needs a CUDA device, not {options.device}; use fp32 or bf16")
    if on_cuda:
        torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"


def _load_optimizer_code() -> None:
    """Torch imports its compiler with the first optimizer, which takes seconds that belong to no run."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter]).step()
