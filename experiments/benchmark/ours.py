"""The engine as a contender: its own training loop, following the benchmark's events."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.engine import REFERENCE, Engine, EngineOptions, Job
from headtohead.core.engine.plan import Plan
from headtohead.core.engine.prefix import PrefixCache
from headtohead.core.training import Event, Forward, Progress, SplitName
from headtohead.experiments.benchmark.contender import Assignment, Facts


class EngineRun:
    """One run of the engine, prepared; its frozen prefix is kept in the assignment's folder."""

    def __init__(self, assignment: Assignment, allowed: Plan) -> None:
        self.assignment = assignment
        self._folder = assignment.folder / "prefix"
        self._options = EngineOptions(assignment.device, allowed=allowed, cache_dir=self._folder)
        self.engine = self._engine(assignment)
        self.run = self.engine.prepare(Job(assignment.variant, assignment.seed, assignment.folder), _ignore)
        self._watched = _Watched(self.run.forward)
        self.run.forward = self._watched
        self.facts = Facts(
            trainable_params=self.run.trainable_params,
            words=self.engine.inspect(assignment.variant).words,
            evaluates_once=self.run.forward.evaluation_rows is not None,
            cut=self.run.plan.cut,
        )
        if self.run.stored is not None:
            self._describe_prefix(self.run.stored.seconds)

    def _engine(self, assignment: Assignment) -> Engine:
        engine = Engine(assignment.pretrained, assignment.dataset, assignment.config, self._options)
        thinned = assignment.thinned
        if thinned is None or not engine.inspect(assignment.variant).cut:
            return engine
        return Engine(assignment.pretrained, thinned, assignment.config, self._options)

    def _describe_prefix(self, seconds: float) -> None:
        assignment, cut = self.assignment, self.run.plan.cut
        whole = Engine(assignment.pretrained, assignment.dataset, assignment.config, self._options)
        tokens, all_tokens = (int(engine.sequences.lengths.sum()) for engine in (self.engine, whole))
        config = assignment.pretrained.config
        rows = (
            (len(self.engine.sequences), len(whole.sequences))
            if cut > config.n_layers
            else (tokens, all_tokens)
        )
        self.facts = replace(
            self.facts,
            prefix_seconds=seconds,
            prefix_scale=all_tokens / tokens,
            prefix_missing_bytes=4 * config.emb_dim * (rows[1] - rows[0]),
        )

    def follow(self, events: Iterable[Event]) -> None:
        self.engine.train(self.run, events, _ignore)

    def loss(self) -> float:
        return self._watched.loss()

    def rest(self) -> None:
        self.run.model.zero_grad(set_to_none=True)

    def prefix_seconds(self, from_disk: bool) -> float:
        engine, config = self.engine, self.assignment.pretrained.config
        cache = PrefixCache(
            engine.sequences,
            config.n_layers,
            config.emb_dim,
            self.assignment.pretrained.sha256,
            device=self.assignment.device,
            folder=self._folder if from_disk else None,
        )
        return cache.get(
            self.run.plan.cut, [], self.assignment.pretrained.build, lambda done, total: None
        ).seconds

    def peak_memory_bytes(self) -> int | None:
        return self.run.meter.peak_memory_bytes()


class _Watched:
    """A Forward that remembers the logits of the latest step, so that its loss can be read without the loop's help."""

    def __init__(self, forward: Forward) -> None:
        self._forward = forward
        self.evaluation_rows = forward.evaluation_rows
        self._latest: tuple[Tensor, Tensor] | None = None

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        logits = self._forward.logits(split, rows)
        if torch.is_grad_enabled():
            self._latest = (logits.detach(), rows)
        return logits

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        return self._forward.labels(split, rows)

    def parameters_changed(self) -> None:
        self._forward.parameters_changed()

    def loss(self) -> float:
        """The cross-entropy of the latest step."""
        assert self._latest is not None
        logits, rows = self._latest
        return float(F.cross_entropy(logits.float(), self._forward.labels("train", rows)))


def start(assignment: Assignment) -> EngineRun:
    """The engine with its plans."""
    return EngineRun(assignment, EngineOptions().allowed)


def start_reference(assignment: Assignment) -> EngineRun:
    """The engine's reference path."""
    return EngineRun(assignment, REFERENCE)


def _ignore(progress: Progress) -> None:
    """Nobody looks at the engine's own progress here."""
