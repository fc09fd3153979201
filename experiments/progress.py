"""Time left of an experiment, from what its runs have cost so far; knows no screen.

Runs of one experiment differ in cost by orders of magnitude, so neither their number nor the time so far says how
long the rest takes. A kind of run that was measured stands for the others of its kind; one that was not yet, for
the passes through the model that its plan lets expect, at the speed of those that were measured.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headtohead.core.engine import Engine
    from headtohead.core.strategy import Variant

FIXED_SECONDS = 0.5  # of a run whatever it trains: building the model, saving, reloading
TRUSTED_STEPS = 10  # steps after which the pace of a kind's first run counts for more than its expected cost
TRUSTED_PART = 0.02  # part of a run after which its pace says something about other kinds


@dataclass(frozen=True)
class Work:
    """One run, or several that are done at once.

    Attributes:
        kind: works of the same kind cost the same.
        passes: messages passed forward through the whole model that cost as much, by the plan.
        evaluation: how many of them are behind the last step.
        preparation: the same of what is computed once for all, if this work is the first to need it.
        seconds: what the work takes, where that was measured before.
    """

    kind: str
    passes: float
    evaluation: float = 0.0
    preparation: float = 0.0
    seconds: float | None = None


def training_passes(messages: int, part: float, trainable_share: float) -> float:
    """What training costs by its plan, in messages passed forward through the whole model.

    What is not frozen is passed forward and, as costly, backward; the gradients of weights cost as much again for
    the share that is trained.

    Args:
        messages: seen in all epochs.
        part: the part of the model that is computed for each of them at every token, 0 to 1.
        trainable_share: trained parameters of all, 0 to 1.
    """
    return part * messages * (2 + trainable_share)


def work_of(engine: "Engine", group: Sequence["Variant"], known: Mapping[str, float | None]) -> Work:
    """A group of runs as the engine does it, given by their variants: what it costs by the plan of the first.

    ``known``: seconds of a run of that label, where an earlier experiment has measured them.
    """
    variant, dataset, config = group[0], engine.dataset, engine.config
    kind = " ".join(dict.fromkeys(each.label for each in group))
    try:
        seen = engine.inspect(variant)
    except Exception:  # noqa: BLE001 - its run will fail with the same error, at no cost, and be recorded so
        return Work(kind, 0.0)
    stages = engine.pretrained.config.n_layers + 2  # embeddings, blocks, final norm
    # The engine's own blocks compute the last one, and what follows it, for one position of each message.
    behind = max(0, stages - seen.cut - (2 if seen.restructured else 0)) / stages
    rows = len(dataset.train) + len(dataset.validation) + len(dataset.test)
    share = (seen.trainable_params or 0) / max(seen.total_params or 0, 1)
    seen_once = engine.part.train_size or len(dataset.train)
    trained = seen_once * config.epochs if seen.trainable_params else 0
    training, evaluation = training_passes(trained, behind, share), behind * rows
    # Runs side by side share the cores; heads are one small problem, however many there are.
    at_once = 1.0 if seen.only_head else max(1.0, len(group) / (os.cpu_count() or 1))
    seconds = known.get(variant.label)
    return Work(
        kind,
        at_once * (training + evaluation),
        at_once * evaluation,
        preparation=rows * seen.cut / stages,
        seconds=None if seconds is None else at_once * seconds,
    )


class Estimator:
    """Elapsed and remaining seconds of works done one after another.

    Args:
        works: all that is to be done, in order.
        clock: the time in seconds.
    """

    def __init__(self, works: Sequence[Work], clock: Callable[[], float] = time.monotonic) -> None:
        self._works = list(works)
        self._clock = clock
        self._started = clock()
        self._next = 0  # the place in works of the one that begins next
        self._current: _Current | None = None
        self._measured: dict[str, list[float]] = {}
        self._after_steps: dict[str, list[float]] = {}  # seconds behind the last step, by kind
        self._prepared = (0.0, 0.0)  # passes of preparation, and the seconds they took

    def begin(self) -> None:
        """The next work begins."""
        self._current = _Current(self._works[self._next], self._clock())
        self._next += 1

    def step(self, done: int, total: int, preparing: bool = False) -> None:
        """``done`` of ``total`` steps of the current work are done; ``preparing``: of what only the first one needs."""
        if self._current is None:
            return
        self._current.step(done, total, preparing, self._clock())
        if preparing:
            self._prepared = (self._current.work.preparation * done / total, self._current.preparation)

    def end(self, measured: bool = True) -> None:
        """The current work is done; not ``measured`` where an error ended it and it says nothing about others."""
        current, self._current = self._current, None
        if current is None or not measured:
            return
        now, kind = self._clock(), current.work.kind
        self._measured.setdefault(kind, []).append(current.own_seconds(now))
        self._after_steps.setdefault(kind, []).append(now - current.latest)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    @property
    def left(self) -> float | None:
        """Seconds that everything still takes; None where nothing is known yet."""
        rest = [self._seconds(work) for work in self._works[self._next :]]
        if self._current is not None:
            rest.append(self.current_left)
        known = [each for each in rest if each is not None]
        return sum(known) if len(known) == len(rest) else None

    @property
    def current_left(self) -> float | None:
        """Seconds that the current work still takes; None where nothing is known yet."""
        current, now = self._current, self._clock()
        if current is None:
            return 0.0
        expected = self._expected(current.work)
        total = self._projected(current)
        if total is not None and expected is not None:
            trust = current.part if current.work.kind in self._measured else current.trust
            total = trust * total + (1 - trust) * expected
        total = expected if total is None else total
        return None if total is None else max(0.0, total - current.own_seconds(now)) + current.preparing_left

    @property
    def part(self) -> float:
        """The part of all time that has passed, 0 to 1."""
        left = self.left
        return 0.0 if left is None else self.elapsed / max(self.elapsed + left, 1e-9)

    def _seconds(self, work: Work) -> float | None:
        """What a work that has not begun will take."""
        current = self._current
        if work.kind not in self._measured and current is not None and current.work.kind == work.kind:
            left = self.current_left
            return (
                None if left is None else current.own_seconds(self._clock()) + left - current.preparing_left
            )
        return self._expected(work)

    def _expected(self, work: Work) -> float | None:
        """What a work takes by the measured ones of its kind, by a measurement made before, or by its passes."""
        found = self._measured.get(work.kind)
        if found:
            return sum(found) / len(found)
        if work.seconds is not None:
            return work.seconds
        pace = self._seconds_per_pass()
        return None if pace is None else FIXED_SECONDS + pace * work.passes

    def _seconds_per_pass(self) -> float | None:
        """Seconds per expected pass, by least squares over the preparation and the kinds that were measured.

        Through the origin, so that the largest says most: what a run costs beside its passes blurs the small ones.
        """
        passes = {work.kind: work.passes for work in self._works}
        found = {kind: sum(each) / len(each) for kind, each in self._measured.items()}
        current = self._current
        if current is not None and current.work.kind not in found and current.part >= TRUSTED_PART:
            projected = self._projected(current)
            if projected is not None:
                found[current.work.kind] = projected
        points = [
            (passes[kind], max(seconds - FIXED_SECONDS, 0.1 * seconds)) for kind, seconds in found.items()
        ]
        points.append(self._prepared)
        squares = sum(cost**2 for cost, _ in points)
        return sum(cost * seconds for cost, seconds in points) / squares if squares else None

    def _projected(self, current: "_Current") -> float | None:
        """What the current work takes in all by the pace of its steps, without what only the first one needs."""
        if current.pace is None:
            return None
        work, steps = current.work, current.pace * current.total
        after = self._after_steps.get(work.kind)
        if after:
            return current.before_steps + steps + sum(after) / len(after)
        return current.before_steps + steps * (1 + work.evaluation / max(work.passes - work.evaluation, 1.0))


class _Current:
    """The work that is being done: when it began, its steps, and how long its preparation took."""

    def __init__(self, work: Work, now: float) -> None:
        self.work = work
        self.began = self.latest = now
        self.first: tuple[int, float] | None = None  # steps done and the time when the first were reported
        self.done = self.total = 0
        self.preparation = 0.0  # seconds
        self.preparing_left = 0.0
        self.before_steps = 0.0  # seconds between the preparation and the first steps

    def step(self, done: int, total: int, preparing: bool, now: float) -> None:
        if preparing:
            self.preparation += now - self.latest
            self.preparing_left = (total - done) * self.preparation / max(done, 1)
        elif self.first is None:
            self.preparing_left = 0.0
            self.first = (done, now)
            self.before_steps = now - self.began - self.preparation
        self.done, self.total, self.latest = done, total, now

    def own_seconds(self, now: float) -> float:
        """Seconds so far that another work of this kind takes, too."""
        return now - self.began - self.preparation

    @property
    def stepping(self) -> float:
        """Seconds from the first reported step to the last."""
        return self.latest - self.first[1] if self.first else 0.0

    @property
    def pace(self) -> float | None:
        """Seconds per step; None before the second one."""
        if self.first is None or self.done <= self.first[0]:
            return None
        return self.stepping / (self.done - self.first[0])

    @property
    def part(self) -> float:
        """The part of its steps that is done, 0 to 1."""
        return self.done / self.total if self.first and self.total else 0.0

    @property
    def trust(self) -> float:
        """How far the pace counts against the expected cost of a kind that was never measured, 0 to 1."""
        return min(1.0, (self.done - self.first[0]) / TRUSTED_STEPS) if self.first else 0.0
