"""Strategies that train a part of the model as it is: which part, when, and at which learning rate."""

import pytest
import torch

from headtohead.core.classifier import make_classifier
from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy
from headtohead.strategies import build_variants

CONFIG = GPTConfig(vocab_size=32, context_length=8, emb_dim=16, n_layers=4, n_heads=2)


def classifier(label: str) -> tuple[GPTModel, Strategy]:
    strategy = build_variants([label])[0].strategy
    assert isinstance(strategy, Strategy)
    model = GPTModel(CONFIG)
    make_classifier(model, strategy, n_classes=2, seed=1)
    return model, strategy


def training_parts(model: GPTModel) -> set[str]:
    """The parts of the model that train: a block's number, or the name of a part outside of the blocks."""
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return {name.split(".")[1] if name.startswith("trf_blocks") else name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("label", "parts"),
    [
        ("last_n_blocks", {"2", "3", "final_norm", "out_head"}),
        ("last_n_blocks@n=4", {"0", "1", "2", "3", "final_norm", "out_head"}),
        ("first_n_blocks", {"0", "1", "final_norm", "out_head"}),
        ("embeddings", {"tok_emb", "pos_emb", "out_head"}),
    ],
)
def test_parts_that_train(label: str, parts: set[str]) -> None:
    assert training_parts(classifier(label)[0]) == parts


@pytest.mark.parametrize("label", ["last_n_blocks@n=0", "last_n_blocks@n=5", "first_n_blocks@n=5"])
def test_a_number_of_blocks_that_the_model_does_not_have_is_refused(label: str) -> None:
    with pytest.raises(InputError, match=r"at most 4 \(the model's number of blocks\)|at least 1"):
        classifier(label)


def test_norms_and_biases_are_all_of_their_kind() -> None:
    norms = {name for name, each in classifier("norms")[0].named_parameters() if each.requires_grad}
    biases = {name for name, each in classifier("bitfit")[0].named_parameters() if each.requires_grad}
    assert len(norms) == 2 * (2 * 4 + 1) + 2
    assert {"final_norm.scale", "final_norm.shift", "trf_blocks.0.norm1.scale", "out_head.weight"} <= norms
    assert len(biases) == 8 * 4 + 1 + 2  # six linear layers and two norms per block, the final norm, the head
    assert not any(name.endswith((".weight", ".scale")) for name in biases - {"out_head.weight"})


def test_gradual_unfreezing_adds_a_block_per_epoch() -> None:
    model, strategy = classifier("gradual_unfreezing@blocks=3")
    assert training_parts(model) == {"1", "2", "3", "final_norm", "out_head"}  # all that will ever train
    strategy.before_training(model, epochs=4, steps_per_epoch=5)
    trained = [training_parts(model)]
    for step in range(20):
        strategy.after_step(model, step)
        trained.append(training_parts(model))
    assert trained[:5] == [{"out_head"}] * 5
    assert trained[5:10] == [{"3", "final_norm", "out_head"}] * 5
    assert trained[10:15] == [{"2", "3", "final_norm", "out_head"}] * 5
    assert trained[15:] == [{"1", "2", "3", "final_norm", "out_head"}] * 6


def test_gradual_unfreezing_leaves_what_is_still_frozen_alone_although_the_optimizer_holds_it() -> None:
    model, strategy = classifier("gradual_unfreezing@blocks=3")
    optimizer = torch.optim.AdamW(strategy.param_groups(model), lr=0.1, weight_decay=0.5)
    strategy.before_training(model, epochs=4, steps_per_epoch=1)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    for step in range(2):
        optimizer.zero_grad()
        model(torch.tensor([[1, 2, 3]]))[:, -1].logsumexp(-1).sum().backward()
        optimizer.step()
        strategy.after_step(model, step)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert {name.split(".")[1] for name in moved if name.startswith("trf_blocks")} == {"3"}


def test_learning_rates_fall_with_the_distance_from_the_head() -> None:
    model, strategy = classifier("layerwise_decay@decay=0.5+learning_rate=0.8")
    groups = strategy.param_groups(model)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rate = {names[each]: group["lr"] for group in groups for each in group["params"]}
    assert set(rate) == set(names.values())
    assert rate["out_head.weight"] == rate["final_norm.scale"] == 0.8
    assert [rate[f"trf_blocks.{number}.norm1.scale"] for number in (3, 2, 1, 0)] == [0.4, 0.2, 0.1, 0.05]
    assert rate["tok_emb.weight"] == rate["pos_emb.weight"] == 0.025
