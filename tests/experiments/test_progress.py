"""Time left, on a simulated clock: it converges although runs differ in cost by orders of magnitude."""

from collections.abc import Sequence

import numpy as np
import pytest

from headtohead.experiments.progress import Estimator, Work, training_passes

STEPS = 100
SECONDS = {"head": 1.0, "last_block": 10.0, "lora": 100.0}
# By the plans of the 124M model and the chapter's messages: of 14 stages none, one, or twelve are computed at every
# step. That is only in the order of the seconds above, as it will be in practice.
PARTS = {"head": 0.0, "last_block": 1 / 14, "lora": 12 / 14}
EVALUATION = {kind: 1494 * part for kind, part in PARTS.items()}
PASSES = {kind: training_passes(5200, part, 0.03) + EVALUATION[kind] for kind, part in PARTS.items()}
PREPARATION = 1494 * 13 / 14  # passes
PREFIX_SECONDS = PREPARATION * SECONDS["lora"] / PASSES["lora"]


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


Moment = tuple[float, float | None, int]


def simulate(
    kinds: Sequence[str],
    passes: dict[str, float],
    before: dict[str, float] | None = None,
    prefix: float = PREFIX_SECONDS,
) -> list[Moment]:
    """Every step's (seconds passed, the estimate of seconds left, runs done); steps vary by 30 %.

    ``before``: seconds of each kind that were measured before; ``prefix``: seconds that the first run's preparation
    takes.
    """
    clock, rng = Clock(), np.random.default_rng(0)
    works = [
        Work(
            kind,
            passes[kind],
            EVALUATION[kind] if passes is PASSES else 0.0,
            PREPARATION,
            (before or {}).get(kind),
        )
        for kind in kinds
    ]
    estimator = Estimator(works, clock)
    moments: list[Moment] = []
    for runs, kind in enumerate(kinds):
        estimator.begin()
        for step in range(10 if prefix and not runs else 0):
            clock.now += prefix / 10
            estimator.step(step + 1, 10, preparing=True)
            moments.append((estimator.elapsed, estimator.left, runs))
        clock.now += 0.1 * SECONDS[kind]  # building the model
        for step in range(STEPS):
            clock.now += 0.7 * SECONDS[kind] / STEPS * rng.uniform(0.7, 1.3)
            estimator.step(step + 1, STEPS)
            moments.append((estimator.elapsed, estimator.left, runs))
        clock.now += 0.2 * SECONDS[kind]  # evaluating
        estimator.end()
        moments.append((estimator.elapsed, estimator.left, runs + 1))
    return moments


def worst(moments: Sequence[Moment], first: float, last: float = 0.9, by_runs: bool = False) -> float:
    """The largest error of the time left, relative to the true one, between two parts of the time (or of the runs)."""
    total, runs = moments[-1][0], moments[-1][2]
    errors = []
    for passed, left, done in moments:
        if first <= (done / runs if by_runs else passed / total) and passed < last * total:
            assert left is not None
            errors.append(abs(left - (total - passed)) / (total - passed))
    return max(errors)


THIRTY_SIX = {
    "by strategy": [kind for kind in SECONDS for _ in range(12)],
    "dearest first": [kind for kind in reversed(SECONDS) for _ in range(12)],
    "mixed": [kind for _ in range(12) for kind in SECONDS],
}


@pytest.mark.parametrize("order", THIRTY_SIX)
@pytest.mark.parametrize("by_runs", [False, True], ids=["of the time", "of the runs"])
def test_behind_the_first_tenth_the_time_left_is_within_30_percent(order: str, by_runs: bool) -> None:
    assert worst(simulate(THIRTY_SIX[order], PASSES), 0.1, by_runs=by_runs) < 0.3


@pytest.mark.parametrize(("order", "every_kind_seen"), [("by strategy", 0.2), ("mixed", 0.1)])
def test_it_converges_where_the_plans_say_nothing(order: str, every_kind_seen: float) -> None:
    moments = simulate(THIRTY_SIX[order], dict.fromkeys(SECONDS, 1000.0))
    assert worst(moments, every_kind_seen, 0.99) < 0.1


def test_counting_runs_would_not_do() -> None:
    """The same runs by their number alone: what is shown must not be this."""
    moments = simulate(THIRTY_SIX["by strategy"], PASSES)
    total, runs = moments[-1][0], moments[-1][2]
    counted = [(passed, passed / done * (runs - done), done) for passed, _, done in moments if done]
    counted[-1] = (total, 0.0, runs)
    assert worst(counted, 0.1, by_runs=True) > 0.9


def test_seconds_measured_before_are_believed_from_the_start() -> None:
    probed = {"head": 1.3, "last_block": 8.0, "lora": 115.0}
    moments = simulate(THIRTY_SIX["by strategy"], dict.fromkeys(SECONDS, 1.0), probed)
    assert worst(moments, 0.0, 0.12) < 0.2 and worst(moments, 0.2) < 0.05


def test_without_anything_measured_nothing_is_claimed() -> None:
    clock = Clock()
    estimator = Estimator([Work("a", 1.0)], clock)
    estimator.begin()
    clock.now += 5
    assert estimator.left is None and estimator.elapsed == 5 and estimator.part == 0
    assert Estimator([], clock).left == 0


def test_what_only_the_first_run_needs_is_not_expected_of_the_others() -> None:
    kinds = ["lora"] * 12
    moments = simulate(kinds, PASSES, prefix=300.0)
    assert worst(moments, 0.28) < 0.1


def test_a_failed_run_says_nothing_about_the_others() -> None:
    clock = Clock()
    estimator = Estimator([Work("a", 1.0)] * 4, clock)
    for seconds, ok in ((10.0, True), (0.1, False)):
        estimator.begin()
        clock.now += seconds
        estimator.end(measured=ok)
    assert estimator.left == pytest.approx(20.0)


def test_passes_are_in_the_order_of_the_plans() -> None:
    everything = training_passes(5200, 1.0, 1.0)
    assert PASSES["head"] == 0 < PASSES["last_block"] < PASSES["lora"] < everything < 2 * PASSES["lora"]
