"""One run from its seed to the finetuned classifier on disk, measured."""

import copy
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
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
    trained_names,
    untrained_differences,
)
from headtohead.core.data import Dataset
from headtohead.core.device import check_bf16
from headtohead.core.engine.allocator import keep_freed_memory
from headtohead.core.engine.baseline import WORDS, fit_baseline
from headtohead.core.engine.embedding import CompactEmbedding, decay_per_step
from headtohead.core.engine.facts import Facts, look, overridden
from headtohead.core.engine.forgetting import language_loss, plain_tokens
from headtohead.core.engine.forward import AutocastForward, PlannedForward, ReferenceForward
from headtohead.core.engine.meter import Meter
from headtohead.core.engine.options import WHOLE, EngineOptions, Job, Outcome, Part
from headtohead.core.engine.outside import Outside
from headtohead.core.engine.plan import (
    REFERENCE,
    Plan,
    derive,
    in_words,
    reference,
    stage_tensors,
)
from headtohead.core.engine.prefix import PrefixCache, Stored
from headtohead.core.engine.products import MKL, find_products, onednn_works
from headtohead.core.engine.recompute import RecomputedForward
from headtohead.core.engine.sequences import Sequences, distinct_sequences
from headtohead.core.engine.threads import SMALL, threads_per_product
from headtohead.core.engine.trial import Trial, first_line
from headtohead.core.engine.verify import PlanFailed, Verdict, Watch
from headtohead.core.errors import InputError, TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.resplit import places, resplit
from headtohead.core.sample import balanced_rows
from headtohead.core.strategy import (
    Baseline,
    Method,
    Strategy,
    Variant,
    count_parameters,
    trainable_parameters,
)
from headtohead.core.tokenizer import GPT2
from headtohead.core.training import (
    SPLITS,
    Evaluation,
    Event,
    Forward,
    History,
    Loaders,
    Progress,
    SplitName,
    TrainConfig,
    balanced_weights,
    batches_of,
    evaluate,
    protocol,
    row_loaders,
    train,
)
from headtohead.core.weights import Pretrained

OnProgress = Callable[[Progress], None]
FIRST_BATCHES = 10  # of each split, for the accuracy before training, as in the chapter
SAME_LOGITS = 1e-4  # a reloaded classifier may differ from the trained one by rounding, not more


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
    applied: Facts  # of the model as the strategy was applied, which a reloaded one must share
    verdict: Verdict  # on the plan
    rebuilt: GPTModel | None = None  # for reloading; runs that train the head alone share one
    before: dict[SplitName, float] = field(default_factory=dict)  # accuracy before the first step
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
        steps: the strategy has code of its own between two steps.
    """

    trainable_params: int | None
    total_params: int | None
    cut: int
    only_head: bool
    words: list[str]
    restructured: bool = False
    steps: bool = False


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
        self._language_loss: float | None = None  # of the pretrained model
        self._parts: dict[Part, Engine] = {self.part: self}
        self._agreed: set[object] = set()  # what was compared already and holds for every run of that kind
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

    def inspect(self, variant: Variant) -> "Inspection":
        """What a variant trains and how, without training it.

        The engine remembers which hidden states the variant will need, so that the first run's pass over the
        data can leave those of all.
        """
        key = repr(variant)  # a label may stand for several settings, a tuned one and the defaults
        if key not in self._inspected:
            self._inspected[key] = self._inspect(variant.strategy)
        return self._inspected[key]

    def _inspect(self, strategy: Method) -> "Inspection":
        n_blocks = self.pretrained.config.n_layers
        if isinstance(strategy, Baseline):
            cut = n_blocks + 2 if strategy.reads == "features" else 0
            return Inspection(None, None, cut, False, WORDS)
        with self.drawing:
            model = rebuild(self.pretrained, strategy, self.n_classes, 0, self.config.outputs)
        plan, facts = self.plan_of(model, strategy), look(model, strategy)
        return Inspection(
            count_parameters(trainable_parameters(model)),
            count_parameters(model.parameters()),
            plan.cut,
            plan.cut == n_blocks + 2 and not facts.overrides and _trains_plain_head(model, facts),
            self._words(plan, None, None),
            plan.restructured,
            facts.steps,
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
        job = Job(variant, seed, classifier_dir)
        outside = Outside(variant.strategy, self.options.device)
        try:
            return self._fit(job, on_progress)
        except PlanFailed as changed:
            outside.put_back()
            return self._fit(job, on_progress, distrust=str(changed))

    def _fit(self, job: Job, on_progress: OnProgress, distrust: str | None = None) -> Outcome:
        run = self.prepare(job, on_progress, distrust)
        torch.manual_seed(job.seed)
        events = protocol(self.loaders(job.seed), self.config)
        return self.finish(run, self.train(run, events, on_progress))

    def _fit_baseline(self, baseline: Baseline, seed: int, on_progress: OnProgress) -> Outcome:
        """A baseline's row; features are the hidden states behind the final norm, where a classifier reads."""
        if baseline.reads == "texts":
            return fit_baseline(baseline, self.dataset, None, 0, seed, self.train_rows(seed))
        stored = self.hidden_states(self.pretrained.config.n_layers + 2, on_progress)
        hidden = stored.hidden.cpu()
        features = {name: hidden[self.sequences.of_row[name]] for name in SPLITS}
        gpt_params = count_parameters(self.pretrained.build().parameters())
        rows = self.train_rows(seed)
        outcome = fit_baseline(baseline, self.dataset, features, gpt_params, seed, rows)
        return replace(outcome, prefix_seconds=stored.seconds)

    # --- the parts of a run, which groups of runs use, too -----------------------------------------------------

    def prepare(self, job: Job, on_progress: OnProgress, distrust: str | None = None) -> TrainingRun:
        """A fresh model with its verified plan, ready to be trained; missing hidden states are computed.

        Args:
            distrust: why the reference path is to be taken, where a plan has failed already.
        """
        strategy = job.variant.strategy
        assert isinstance(strategy, Strategy)
        meter = Meter(self.options.device)
        with self.drawing:
            outside = Outside(strategy, self.options.device)
            with meter.measure("setup"):
                model = self._classifier(job)
                applied = look(model, strategy)
                counts = count_parameters(trainable_parameters(model)), count_parameters(model.parameters())
            if known := REFERENCE if self.options.reference else distrust and reference(distrust):
                verdict = Verdict(known)
            else:
                verdict = self._verified(job, model, applied, meter, on_progress)
            if not (known or applied.plain):  # the trial has used the model up
                moved = outside.put_back()
                if moved and (verdict.plan.cut or verdict.plan.restructured):
                    verdict = Verdict(reference(f"the strategy keeps {moved} outside of its model"))
                with meter.measure("setup"):
                    del model
                    model = self._classifier(job)
                    meter.forget_peak()
        plan = verdict.plan
        stored = self.hidden_states(plan.cut, on_progress) if plan.cut else None
        with meter.measure("setup"):
            compact = CompactEmbedding(model, self.sequences) if plan.compact_embedding else None
            sequences = compact.sequences if compact else self.sequences
            forward = self.forward_of(model, strategy, plan, stored, sequences)
        with meter.measure("eval"):
            model.eval()
            before = self.starting_accuracy(forward, job.seed)
            forward.parameters_changed()
        return TrainingRun(
            job,
            strategy,
            model,
            plan,
            stored,
            meter,
            forward,
            compact,
            *counts,
            applied,
            verdict,
            before=before,
        )

    def starting_accuracy(self, forward: Forward, seed: int) -> dict[SplitName, float]:
        """The accuracy of each split before the first step, on as many batches as the chapter takes.

        The batches are those of the chapter, drawn after ``manual_seed(seed)``; the generator is left as it was.
        """
        with self.drawing, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            loaders = self.loaders(seed)
            batches = {name: batches_of(loader, FIRST_BATCHES) for name, loader in loaders.items()}
        return {name: evaluate(forward, name, rows).accuracy for name, rows in batches.items()}

    def _classifier(self, job: Job) -> GPTModel:
        """The model of a run as its seed and its strategy make it, before its training."""
        assert isinstance(job.variant.strategy, Strategy)
        model = self.pretrained.build()
        make_classifier(model, job.variant.strategy, self.n_classes, job.seed, self.config.outputs)
        return model.to(self.options.device)

    def train(self, run: TrainingRun, events: Iterable[Event], on_progress: OnProgress) -> History:
        """Train a prepared run by the events of its protocol, drawn from a generator seeded for it.

        Raises:
            PlanFailed: what the run's plan relies on has changed; the run must be done by the reference path.
        """
        strategy, model = run.strategy, run.model
        run.meter.start_training()
        with run.meter.measure("train"):
            optimizer = self.optimizer_of(model, strategy, fused=run.plan.fused_optimizer)
            strategy.before_training(model, self.config.epochs, self.updates_per_epoch)
            watch = Watch(model, strategy, run.verdict.facts) if run.verdict.facts else None

            def on_step(progress: Progress) -> None:
                if watch is not None:
                    watch.check()
                on_progress(progress)

            total_steps = self.config.epochs * self.steps_per_epoch
            history = train(
                model,
                strategy,
                run.forward,
                optimizer,
                events,
                total_steps,
                on_step,
                self.class_weights,
                self.config.accumulation_steps,
            )
            if watch is not None:
                watch.check_end()
            model.zero_grad(set_to_none=True)
            if run.compact is not None:
                run.compact.expand(decay_per_step(optimizer, model.tok_emb.weight), history.updates)
                run.forward = self.forward_of(model, strategy, run.plan, run.stored, self.sequences)
        return history

    @property
    def updates_per_epoch(self) -> int:
        """Of the parameters: steps, unless gradients are accumulated."""
        return -(-self.steps_per_epoch // self.config.accumulation_steps)

    @property
    def steps_per_epoch(self) -> int:
        """Without the last partial batch."""
        return (self.part.train_size or len(self.dataset.train)) // self.config.batch_size

    def optimizer_of(self, model: GPTModel, strategy: Strategy, *, fused: bool) -> torch.optim.Optimizer:
        """AdamW with the strategy's groups and settings."""
        return torch.optim.AdamW(
            strategy.param_groups(model),
            lr=strategy.learning_rate,
            weight_decay=strategy.weight_decay,
            fused=True if fused else None,
        )

    def finish(self, run: TrainingRun, history: History) -> Outcome:
        """Save a trained run, reload it onto a base with another random head, and evaluate the reloaded one.

        A trial is evaluated as it is, on validation and as many batches of train as the protocol measures on, and
        nothing of it is saved.
        """
        meter, peak = run.meter, run.meter.peak_memory_bytes()
        above_model = meter.memory_above_model_bytes()
        batches = history.final_batches
        with meter.measure("eval"):
            some = None if self.part.test else self.config.evaluate_batches
            train_result = evaluate(run.forward, "train", batches["train"][:some])
            validation_result = evaluate(run.forward, "validation", batches["validation"])
            test_result, warnings = self._tested(run, batches["test"]) if self.part.test else (None, [])
        if not meter.exact_peak:
            warnings.append("peak memory covers earlier runs of this process, too")
        before, after = self._forgetting(run)
        compact_rows = len(run.compact.used) if run.compact else None
        words = self._words(run.plan, run.stored, compact_rows)
        return Outcome(
            history=history,
            train=train_result,
            validation=validation_result,
            test=test_result,
            trainable_params=run.trainable_params,
            total_params=run.total_params,
            classifier_bytes=size_on_disk(run.job.directory) if self.part.test else None,
            plan=run.plan.as_dict(words),
            setup_seconds=meter.seconds["setup"],
            prefix_seconds=run.stored.seconds if run.stored else None,
            train_seconds=meter.seconds["train"],
            eval_seconds=meter.seconds["eval"],
            peak_memory_bytes=peak,
            memory_above_model_bytes=above_model,
            before={str(name): accuracy for name, accuracy in run.before.items()},
            warnings=warnings,
            train_joules=meter.joules.get("train"),
            language_loss_before=before,
            language_loss_after=after,
        )

    def _forgetting(self, run: TrainingRun) -> tuple[float | None, float | None]:
        """The language model's loss before and after; the same where nothing but the head has changed.

        Unknown where the protocol is not that of a language model: attention that is not causal sees the next token.
        """
        if self.dataset.max_length < 2 or not self.config.causal or not self.part.test:
            return None, None
        changed = any(not name.startswith("out_head.") for name in trained_names(run.model))
        with self.drawing:
            whole = self._parts[WHOLE]  # the same for every part
            before = whole._language_loss
            if before is not None and not (changed or run.untrained):
                return before, before
            tokenizer = self.pretrained.tokenizer or GPT2
            token_ids, pretrained = plain_tokens(self.dataset.max_length, tokenizer), self.pretrained.build()
            head = pretrained.out_head.weight
            if before is None:
                before = whole._language_loss = language_loss(pretrained, head, token_ids)
            if not (changed or run.untrained):
                return before, before
            return before, language_loss(run.model, head, token_ids.to(self.options.device))

    def _tested(self, run: TrainingRun, batches: list[Tensor]) -> tuple[Evaluation, list[str]]:
        """The saved and reloaded classifier on test, and what is to be said of its file."""
        reloaded, warnings = self._save_and_reload(run)
        result = evaluate(reloaded, "test", batches)
        if self.options.precision != "bf16":
            _check_reproduced(evaluate(run.forward, "test", batches[:1]), result)
            return result, warnings
        # How bfloat16 rounds depends on how rows are batched; what is asked here is whether the weights are the same.
        models = [each for each in (run.model, run.rebuilt) if each is not None]
        ours, theirs = (
            self.forward_of(each, run.strategy, run.plan, run.stored, self.sequences, trial=True)
            for each in models
        )
        _check_reproduced(evaluate(ours, "test", batches[:1]), evaluate(theirs, "test", batches[:1]))
        return result, warnings

    def _save_and_reload(self, run: TrainingRun) -> tuple[Forward, list[str]]:
        job = run.job
        info = describe_classifier(
            job.variant,
            self.pretrained,
            self.dataset.label_names,
            self.dataset.max_length,
            self.config.position,
            job.seed,
            self.config.outputs,
        )
        if run.rebuilt is None:
            with self.drawing:
                run.rebuilt = rebuild(
                    self.pretrained, run.strategy, self.n_classes, job.seed + 1, self.config.outputs
                )
            run.untrained = untrained_differences(run.model, run.rebuilt)
        info = save_classifier(job.directory, run.model, run.untrained, info)
        load_tensors(job.directory, run.rebuilt, info)
        run.rebuilt.to(self.options.device)
        same = look(run.rebuilt, run.strategy) == run.applied
        plan = run.plan if same else reference("the reloaded classifier is put together in another way")
        forward = self.forward_of(run.rebuilt, run.strategy, plan, run.stored, self.sequences)
        return forward, _warnings(run.untrained)

    def _words(self, plan: Plan, stored: Stored | None, rows_of_embedding: int | None) -> list[str]:
        """What a plan and the options do, one sentence each."""
        n_blocks = self.pretrained.config.n_layers
        words = in_words(plan, n_blocks, stored, self.sequences, rows_of_embedding, self.products)
        recomputes = self.options.recompute and plan.cut <= n_blocks
        return [*words, "blocks computed again in the backward pass, to save memory"] if recomputes else words

    # --- plans -------------------------------------------------------------------------------------------------

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

    def _verified(
        self, job: Job, model: GPTModel, applied: Facts, meter: Meter, on_progress: OnProgress
    ) -> Verdict:
        """The plan for a run, compared with the reference path on this model, or that path with the reason.

        A model whose training runs nothing but the packages' own code is left as it was, and all runs that train
        the same of it share what was found. Any other is used up.
        """
        strategy = job.variant.strategy
        assert isinstance(strategy, Strategy)
        with meter.measure("setup"):
            try:
                trial = Trial(self, model, strategy, applied)
            except Exception as error:  # noqa: BLE001 - the run itself will show it
                return Verdict(reference(f"the strategy could not be tried: {first_line(error)}"))
        if not (trial.plan.cut or trial.plan.restructured):
            return Verdict(trial.plan)
        kind = (trial.plan, frozenset(trained_names(model)))
        if applied.plain and kind in self._agreed:
            return Verdict(trial.plan)
        stored = self.hidden_states(trial.plan.cut, on_progress) if trial.plan.cut else None
        with meter.measure("setup"):
            if stored and self.options.half_prefix:  # the plan is what is compared, not its rounding
                numbers = self.sequences.of_row["train"][trial.rows].unique()
                stored = self.prefix.exact(trial.plan.cut, numbers, self.pretrained.build())
            why = trial.difference(stored)
        if why:
            return Verdict(reference(f"a plan with less work did not agree with it: {why}"))
        if applied.plain:
            self._agreed.add(kind)
            return Verdict(trial.plan)
        return Verdict(trial.plan, trial.facts, trial.draws)

    def cuts(self, variants: Iterable[Variant]) -> list[int]:
        """The cuts at which these variants read hidden states; one that cannot be inspected reads none."""
        found = set()
        for variant in variants:
            with suppress(Exception):  # its run will fail with the same error, and be recorded so
                found.add(self.inspect(variant).cut)
        return sorted(found - {0})

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


def _trains_plain_head(model: GPTModel, facts: Facts) -> bool:
    """Whether what trains is a linear head that nobody has touched."""
    head = model.out_head
    if not facts.plain or head.bias is None:
        return False
    return {id(each) for each in trainable_parameters(model)} == {id(head.weight), id(head.bias)}


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
    if options.precision == "bf16" and options.device == "cpu":
        check_bf16()
    if on_cuda:
        torch.backends.cuda.matmul.allow_tf32 = options.precision == "tf32"


def _load_optimizer_code() -> None:
    """Torch imports its compiler with the first optimizer, which takes seconds that belong to no run."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter]).step()
