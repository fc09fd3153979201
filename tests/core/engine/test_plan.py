"""Plans follow from what trains, what was inserted, hooks and dropout: never from a name."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from torch import Tensor, nn

from headtohead.core.classifier import make_classifier
from headtohead.core.engine.plan import ALL, derive, in_words
from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, unfreeze
from headtohead.core.training import TrainConfig
from tests import small

L = small.CONFIG.n_layers


@dataclass(frozen=True, kw_only=True)
class Custom(Strategy):
    """Trains what a test says."""

    where: str = "head"

    def apply(self, model: GPTModel) -> None:
        block: Any = model.trf_blocks[1]
        if self.where.startswith("block"):
            unfreeze(model.trf_blocks[int(self.where[-1])])
        elif self.where == "final norm":
            unfreeze(model.final_norm)
        elif self.where == "bias of block 1":
            block.att.W_key.bias.requires_grad_(True)
        elif self.where == "embeddings":
            unfreeze(model.tok_emb)
        elif self.where == "hook on block 1":
            block.ff.register_forward_hook(lambda module, inputs, output: output)
        elif self.where == "layer in block 1":
            block.att.W_query = Doubled(block.att.W_query)
        elif self.where == "new ff in block 1":
            block.ff = nn.Sequential(block.ff)


@dataclass(frozen=True, kw_only=True)
class Changing(Custom):
    """May change after a step what trains."""

    def after_step(self, model: GPTModel, step: int) -> None:
        unfreeze(model.final_norm)


class Doubled(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = 2 * self.inner(x)
        return doubled


def made(strategy: Strategy, drop_rate: float = 0.0) -> GPTModel:
    model = small.random_model(replace(small.CONFIG, drop_rate=drop_rate))
    make_classifier(model, strategy, 2, 123)
    return model


@pytest.mark.parametrize(
    ("where", "cut"),
    [
        ("head", L + 2),
        ("final norm", L + 1),
        ("block 2", L),
        ("block 1", 2),
        ("bias of block 1", 2),
        ("block 0", 0),
        ("embeddings", 0),
        ("hook on block 1", 0),
        ("layer in block 1", 2),
        ("new ff in block 1", 2),
    ],
)
def test_cut_lies_before_the_first_stage_of_its_own(where: str, cut: int) -> None:
    strategy = Custom(where=where)
    assert derive(made(strategy), strategy, {}).cut == cut


@pytest.mark.parametrize(
    ("where", "restructured"),
    [("layer in block 1", True), ("hook on block 1", False), ("new ff in block 1", False), ("block 0", True)],
)
def test_only_blocks_of_the_books_shape_are_restructured(where: str, restructured: bool) -> None:
    strategy = Custom(where=where)
    plan = derive(made(strategy), strategy, {})
    assert plan.restructured == restructured
    assert bool(plan.notes) != restructured  # a fallback says why


def test_after_step_makes_the_plan_conservative() -> None:
    plan = derive(made(Changing()), Changing(), {})
    assert plan.cut == 0 and not plan.compact_embedding
    assert any("may change after a step" in note for note in plan.notes)


def test_dropout_takes_the_reference_path() -> None:
    plan = derive(made(Custom(), drop_rate=0.1), Custom(), {})
    assert (plan.cut, plan.restructured) == (0, False)
    assert "dropout 0.1" in plan.notes[0]


def test_words_say_what_is_done() -> None:
    sequences = distinct_sequences(small.dataset(), TrainConfig())
    strategy = Custom(where="block 2")
    words = in_words(derive(made(strategy), strategy, {}, ALL), L, None, sequences, None)
    assert "blocks 0 to 1" in words[0] and "once per distinct message (92 of 96)" in words[0]
    assert "block 2 at the position of the class only, without keys and values" in words
