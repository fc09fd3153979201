"""A plan is compared before it is used, the comparison leaves no trace, and no built-in strategy loses its plan."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from headtohead import strategies
from headtohead.core.classifier import rebuild
from headtohead.core.config import GPTConfig
from headtohead.core.engine import Engine, Job
from headtohead.core.engine.embedding import CompactEmbedding
from headtohead.core.engine.facts import look, overridden
from headtohead.core.engine.fit import prepare_run
from headtohead.core.engine.outside import Outside, generator_states
from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.engine.verify import PlanFailed, Watch
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, Variant, unfreeze
from headtohead.core.training import TrainConfig
from tests import small

# Wide enough for every strategy's defaults, deep enough for a prefix.
CONFIG = GPTConfig(vocab_size=50257, context_length=64, emb_dim=96, n_layers=4, n_heads=4)
LAST = "block 3 at the position of the class only, without keys and values"
PREFIX = "the embeddings and blocks 0 to {}: once per distinct message (92 of 96)"
MERGED = "inserted low-rank updates merged into one weight once per step, or kept as factors for few tokens"
FUSED = "AdamW in one fused call"
CHANGING = "nothing is computed once: the strategy may change after a step what trains"
OWN = "the model's own modules are called: "
WORDS: dict[str, list[str]] = {
    "head": ["everything but the head: once per distinct message (92 of 96)", FUSED],
    "last_block": [PREFIX.format(2), LAST, FUSED],
    "last_n_blocks": [PREFIX.format(1), LAST, FUSED],
    "lora": [LAST, MERGED, FUSED],
    "lora_book": [LAST, MERGED, FUSED],
    "lora_plus": [LAST, MERGED, FUSED],
    "adalora": [LAST, FUSED, CHANGING],
    "gradual_unfreezing": [LAST, FUSED, CHANGING],
    "prefix_tuning": [FUSED, f"{OWN}block 0 was changed beyond its linear layers"],
    "side_tuning": [FUSED, f"{OWN}block 0 was changed beyond its linear layers"],
    "prompt_tuning": [FUSED, f"{OWN}the embeddings were replaced"],
}
TRAINED = sorted(
    name
    for name in strategies.discover()
    if isinstance(strategies.build_variants([name])[0].strategy, Strategy)
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(small.pretrained(CONFIG), small.dataset(), TrainConfig(epochs=1))


def ignore(progress: object) -> None:
    """No progress is shown."""


# One of each plan is compared in the default tests, the others in the slow ones.
@pytest.mark.parametrize(
    "name",
    [
        name if name in WORDS or name == "ia3" else pytest.param(name, marks=pytest.mark.slow)
        for name in TRAINED
    ],
)
def test_every_strategy_keeps_its_plan_through_the_comparison(
    name: str, engine: Engine, tmp_path: Path
) -> None:
    (variant,) = strategies.build_variants([name])
    seen = engine.inspect(variant)
    assert seen.words == WORDS.get(name, [LAST, FUSED])
    before = generator_states("cpu")
    run = prepare_run(engine, Job(variant, 123, tmp_path), ignore)
    assert (run.plan.cut, run.plan.restructured, run.plan.notes) == (
        seen.cut,
        seen.restructured,
        tuple(word for word in seen.words if word == CHANGING or word.startswith(OWN)),
    )
    assert run.verdict.facts is None or generator_states("cpu")[2:] == before[2:]  # Python's and NumPy's


@pytest.mark.parametrize("name", ["last_block", "lora", "all_layers"])
def test_the_model_is_as_its_seed_makes_it(name: str, engine: Engine, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants([name])
    assert isinstance(variant.strategy, Strategy)
    found = prepare_run(engine, Job(variant, 5, tmp_path), ignore)
    if found.compact is not None:
        found.compact.expand(1.0, 0)
    expected = rebuild(engine.pretrained, variant.strategy, 2, seed=5).state_dict()
    assert found.model.state_dict().keys() == expected.keys()
    for name_of, tensor in found.model.state_dict().items():
        assert tensor.equal(expected[name_of]), name_of
    assert all(parameter.grad is None for parameter in found.model.parameters())


def test_what_was_compared_holds_for_other_seeds(engine: Engine, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants(["last_block"])
    prepare_run(engine, Job(variant, 1, tmp_path), ignore)
    known = len(engine.agreed)
    prepare_run(engine, Job(variant, 2, tmp_path), ignore)
    assert known and len(engine.agreed) == known


def test_compact_rows_keep_the_parameter_and_its_hooks() -> None:
    model = small.random_model()
    weight, before = model.tok_emb.weight, model.tok_emb.weight.detach().clone()
    weight.register_hook(lambda gradient: gradient)
    compact = CompactEmbedding(model, distinct_sequences(small.dataset(), TrainConfig()))
    compact.expand(0.5, 1)
    assert model.tok_emb.weight is weight and weight._backward_hooks
    changed = torch.ones(len(before), dtype=torch.bool)
    changed[compact.used] = False
    assert weight[changed].equal(0.5 * before[changed]) and weight[~changed].equal(before[~changed])


@dataclass(frozen=True, kw_only=True)
class LastBlock(Strategy):
    """The last block."""

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.trf_blocks[-1])


def test_overrides_are_found_wherever_they_are() -> None:
    strategy = LastBlock()
    assert overridden(strategy) == set()
    object.__setattr__(strategy, "extra_loss", lambda model: None)
    assert overridden(strategy) == {"extra_loss"}


def _write(model: Any) -> None:
    model.trf_blocks[0].ff.layers[0].weight.data.mul_(0.5)  # without a trace in the version


def _unfreeze(model: Any) -> None:
    unfreeze(model.trf_blocks[0])


def _patch(model: Any) -> None:
    model.trf_blocks[-1].att.split_heads = lambda x: x


def _replace(model: Any) -> None:
    model.trf_blocks[-1].ff.layers[1] = torch.nn.ReLU()


@pytest.mark.parametrize("change", [_write, _unfreeze, _patch, _replace], ids=lambda each: each.__name__)
def test_watch_sees_what_a_plan_relies_on(change: Any) -> None:
    strategy = LastBlock()
    model = rebuild(small.pretrained(), strategy, 2, seed=1)
    watch = Watch(model, strategy, look(model, strategy))
    watch.check_end()
    change(model)
    with pytest.raises(PlanFailed):
        watch.check_end()


COUNTER, DICE = {"calls": [0]}, torch.Generator().manual_seed(1)


def test_outside_is_put_back() -> None:
    states, dice = generator_states("cpu"), DICE.get_state()
    outside = Outside(LastBlock(), "cpu")
    torch.rand(1), random.random(), np.random.random(), torch.rand(1, generator=DICE)
    COUNTER["calls"][0] += 1
    assert outside.put_back() in ("COUNTER", "DICE")
    assert generator_states("cpu") == states and DICE.get_state().equal(dice) and COUNTER == {"calls": [0]}
    assert outside.put_back() is None


def test_a_failed_comparison_is_said(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*arguments: Any) -> Tensor:
        logits: Tensor = real(*arguments)
        return logits * 1.001

    from headtohead.core.engine.forward import PlannedForward

    real = PlannedForward._compute
    monkeypatch.setattr(PlannedForward, "_compute", wrong)
    own = Engine(engine.pretrained, engine.dataset, engine.config)
    run = prepare_run(own, Job(Variant("last", "last", LastBlock()), 1, tmp_path), ignore)
    assert run.plan.cut == 0 and not run.plan.restructured and not run.plan.fused_optimizer
    assert "did not agree with it: the logits differ by" in run.plan.notes[0]
