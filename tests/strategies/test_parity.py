"""Every strategy gives the reference path's numbers under every plan that the engine can make for it.

On the small checkpoint of the development data, where the losses mean something; a few minutes, so marked slow.
``tests/core/engine/test_parity.py`` holds the plans of the chapter's strategies together in the default run.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from headtohead import strategies
from headtohead.core.engine import ALL, REFERENCE, Engine, EngineOptions, Outcome
from headtohead.core.engine.plan import Plan, derive
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import TrainConfig
from headtohead.core.weights import Pretrained, find_pretrained
from tests import small
from tests.core.engine.test_parity import PLANS, assert_same_numbers
from tests.paths import TINY_CHECKPOINT, WHY_SKIPPED

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not TINY_CHECKPOINT.exists(), reason=WHY_SKIPPED)]
Position = Literal["last", "last_real"]
CONFIG = TrainConfig(epochs=1, evaluate_every=2, evaluate_batches=2)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADTOHEAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        return find_pretrained(None, TINY_CHECKPOINT)


def run(pretrained: Pretrained, variant: Variant, plan: Plan, position: Position, folder: Path) -> Outcome:
    config = replace(CONFIG, position=position)
    engine = Engine(pretrained, small.dataset(), config, EngineOptions(allowed=plan))
    return engine.fit(variant, 123, folder / "classifier")


def different_plans(pretrained: Pretrained, strategy: Strategy) -> dict[Plan, Plan]:
    """What is allowed -> for each plan that comes of it, one of those that give it."""
    from headtohead.core.classifier import rebuild

    model = rebuild(pretrained, strategy, 2, seed=0)
    updates = strategy.low_rank(model)
    found = {derive(model, strategy, updates, allowed): allowed for allowed in PLANS.values()}
    return found | {derive(model, strategy, updates, ALL): ALL}


@pytest.mark.parametrize("name", sorted(strategies.discover()))
def test_every_plan_agrees_with_the_reference_path(name: str, pretrained: Pretrained, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants([name])
    if not isinstance(variant.strategy, Strategy):
        pytest.skip("a baseline has no plan")
    reference = run(pretrained, variant, REFERENCE, "last", tmp_path)
    for allowed in different_plans(pretrained, variant.strategy).values():
        assert_same_numbers(run(pretrained, variant, allowed, "last", tmp_path), reference)
    packed = run(pretrained, variant, ALL, "last_real", tmp_path)
    assert_same_numbers(packed, run(pretrained, variant, REFERENCE, "last_real", tmp_path))
