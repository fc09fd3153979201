"""Strategies that stand on PEFT: what their options do, AdaLoRA's budget and loss, and which types are refused."""

import warnings
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from headtohead.core.classifier import make_classifier
from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, trainable_parameters
from headtohead.strategies import build_variants
from headtohead.strategies.peft import try_all

CONFIG = GPTConfig(vocab_size=64, context_length=16, emb_dim=32, n_layers=3, n_heads=4)
TOKENS = torch.arange(24).reshape(2, 12)


def classifier(label: str) -> tuple[GPTModel, Strategy]:
    torch.manual_seed(0)
    strategy = build_variants([label])[0].strategy
    assert isinstance(strategy, Strategy)
    model = GPTModel(CONFIG)
    make_classifier(model, strategy, n_classes=2, seed=1)
    return model, strategy


def plain_logits() -> torch.Tensor:
    torch.manual_seed(0)
    model = GPTModel(CONFIG)
    torch.manual_seed(1)
    model.out_head = nn.Linear(CONFIG.emb_dim, 2)
    return model(TOKENS)


def train(model: GPTModel, strategy: Strategy, steps: int, learning_rate: float = 1e-2) -> None:
    """All steps in one epoch, towards labels that do not matter."""
    optimizer = torch.optim.AdamW(strategy.param_groups(model), lr=learning_rate)
    strategy.before_training(model, epochs=1, steps_per_epoch=steps)
    for step in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(TOKENS)[:, -1], torch.tensor([0, 1]))
        extra = strategy.extra_loss(model)
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
        strategy.after_step(model, step)


def inserted(model: GPTModel) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


# --- LoRA's options --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["default", "gaussian", "orthogonal", "pissa", "olora"])
def test_every_init_of_lora_starts_at_the_pretrained_model_and_merges_after_training(init: str) -> None:
    model, strategy = classifier(f"lora@init={init}+r=4")
    torch.testing.assert_close(model(TOKENS), plain_logits(), rtol=0, atol=1e-5)
    train(model, strategy, steps=3)
    trained = model(TOKENS)
    assert (trained - plain_logits()).abs().max() > 1e-3
    strategy.merge(model)
    assert inserted(model) == []
    torch.testing.assert_close(model(TOKENS), trained, rtol=0, atol=1e-4)


def test_init_changes_what_training_starts_from() -> None:
    factors = {
        init: classifier(f"lora@init={init}+r=4")[0].get_parameter(
            "trf_blocks.0.att.W_query.lora_A.default.weight"
        )
        for init in ("default", "gaussian", "orthogonal", "pissa", "olora")
    }
    values = list(factors.values())
    assert all(not torch.equal(one, two) for index, one in enumerate(values) for two in values[:index])


def test_targets_and_layers_choose_what_is_adapted() -> None:
    model, _ = classifier("lora@targets=W_value/layers.2+layers=0/2")
    assert inserted(model) == [
        f"trf_blocks.{number}.{layer}" for number in (0, 2) for layer in ("att.W_value", "ff.layers.2")
    ]


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("lora@layers=3", "lora.layers=3: must be at least 0 and less than 3"),
        ("dora@targets=W_q", "dora.targets=W_q: did you mean 'W_query'"),
        ("ia3@targets=out_head", "ia3.targets=out_head"),
    ],
)
def test_a_layer_that_is_not_there_is_refused(label: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        classifier(label)


def test_rslora_bias_and_dropout_reach_peft() -> None:
    model, _ = classifier("lora@r=4+alpha=8+rslora=true+bias=lora_only+dropout=0.1")
    layer: Any = model.get_submodule("trf_blocks.0.att.W_query")
    assert layer.scaling["default"] == 8 / 4**0.5
    assert layer.base_layer.bias.requires_grad and layer.lora_dropout["default"].p == 0.1
    assert not model.get_parameter("trf_blocks.0.norm1.shift").requires_grad


def test_loras_second_factors_learn_faster_under_lora_plus() -> None:
    model, strategy = classifier("lora_plus@learning_rate=1e-3+ratio=8")
    rates = {
        id(parameter): group.get("lr", strategy.learning_rate)
        for group in strategy.param_groups(model)
        for parameter in group["params"]
    }
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert rates[id(parameter)] == (8e-3 if "lora_B" in name else 1e-3), name
    assert len(rates) == len(trainable_parameters(model))


# --- AdaLoRA ---------------------------------------------------------------------------------------------------


def test_adaloras_extra_loss_is_the_mean_distance_from_orthogonal_vectors() -> None:
    model, strategy = classifier("adalora@init_r=3+target_r=2+orthogonality=0.7")
    distances = []
    for name, factor in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            vectors = factor if "lora_A" in name else factor.T  # (r, D) or (r, E)
            distances.append(torch.sqrt(((vectors @ vectors.T - torch.eye(3)) ** 2).sum()))
    assert len(distances) == 2 * 6 * CONFIG.n_layers
    loss = strategy.extra_loss(model)
    assert loss is not None and loss.requires_grad
    torch.testing.assert_close(loss, 0.7 * torch.stack(distances).mean())


def test_adaloras_extra_loss_vanishes_for_orthogonal_vectors() -> None:
    model, strategy = classifier("adalora@init_r=3+target_r=2")
    for name, factor in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            nn.init.orthogonal_(factor)
    loss = strategy.extra_loss(model)
    assert loss is not None and loss.item() < 1e-5


def test_adalora_ends_within_its_budget() -> None:
    model, strategy = classifier("adalora@init_r=4+target_r=2+every=1")
    train(model, strategy, steps=20)
    layers = 6 * CONFIG.n_layers
    values = [parameter for name, parameter in model.named_parameters() if "lora_E" in name]
    ranks = [int((each != 0).sum()) for each in values]
    assert len(ranks) == layers and sum(ranks) == 2 * layers
    assert len(set(ranks)) > 1  # the budget is shared unevenly, which is what the method is for


def test_adalora_follows_the_length_of_the_training() -> None:
    model, strategy = classifier("adalora@warmup=0.2+final=0.5")
    strategy.before_training(model, epochs=5, steps_per_epoch=20)
    config = model.strategy_state["adalora"].peft_config["default"]
    assert isinstance(config, AdaLoraConfig)
    assert (config.total_step, config.tinit, config.tfinal) == (100, 20, 50)


# --- shared tensors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("label", "shared"), [("vblora", "vector_bank"), ("vera@r=64", "vera_A")])
def test_what_layers_share_is_in_the_state_once(label: str, shared: str) -> None:
    model, _ = classifier(label)
    assert len([name for name in model.state_dict() if shared in name]) == 1


# --- any type of PEFT ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tried() -> dict[str, tuple[int | None, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {kind: (parameters, reason) for kind, parameters, reason in try_all()}


def test_types_are_accepted_or_refused_with_a_reason(tried: dict[str, tuple[int | None, str]]) -> None:
    for kind, (parameters, reason) in tried.items():
        assert (parameters is None) == bool(reason), kind
        assert parameters is None or parameters > 0, kind
    assert {"LORA", "IA3", "VERA", "OFT", "LN_TUNING"} <= {
        kind for kind, (count, _) in tried.items() if count
    }


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("ADALORA", "the strategy adalora"),
        ("ADAPTION_PROMPT", "transformers models"),
        ("PREFIX_TUNING", "no such input; the strategy prefix_tuning"),
        ("PROMPT_TUNING", "replaces no layer; the strategy prompt_tuning"),
        ("P_TUNING", "replaces no layer"),
        ("POLY", "number of a task"),
        ("XLORA", "trained before"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:No value was provided:UserWarning", "ignore:Initializing zero-element:UserWarning"
)
def test_a_type_that_cannot_work_is_refused_with_the_reason(kind: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"peft@type={kind} cannot be used: .*{reason}"):
        classifier(f"peft@type={kind}")


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("peft@type=LORRA", "no such tuner type; did you mean 'LORA'"),
        ("peft@type=LORA+options=rank=4", "'rank=4': not NAME=VALUE of this type; did you mean"),
        ("peft@type=LORA+options=r", "'r': not NAME=VALUE"),
        ("peft@type=C3A+options=block_size=7", "cannot be used: .*block size should be a factor"),
    ],
)
def test_a_wrong_type_or_option_is_one_clear_sentence(label: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        classifier(label)


@pytest.mark.parametrize("kind", ["ADAMSS", "GRALORA", "PSOFT", "UNILORA", "BEFT"])
def test_types_without_a_file_of_their_own_train_and_merge(kind: str) -> None:
    model, strategy = classifier(f"peft@type={kind}")
    before = model(TOKENS)
    train(model, strategy, steps=3)
    trained = model(TOKENS)
    assert (trained - before).abs().max() > 1e-3
    strategy.merge(model)
    assert inserted(model) == []
    torch.testing.assert_close(model(TOKENS), trained, rtol=0, atol=1e-4)


def test_a_type_that_peft_cannot_merge_says_so() -> None:
    model, strategy = classifier("peft@type=LILY")
    with pytest.raises(InputError, match=r"PEFT cannot merge peft\.tuners\.lily"):
        strategy.merge(model)


def test_a_head_with_a_learning_rate_of_its_own_has_its_own_group() -> None:
    model, strategy = classifier("vera@head_learning_rate=1e-4+r=64")
    *inserted_groups, head_group = strategy.param_groups(model)
    assert {id(each) for each in head_group["params"]} == {id(each) for each in model.out_head.parameters()}
    assert head_group["lr"] == 1e-4 and {group["lr"] for group in inserted_groups} == {strategy.learning_rate}
    assert sum(len(group["params"]) for group in inserted_groups) + 2 == len(trainable_parameters(model))


def test_options_reach_the_configuration() -> None:
    model, _ = classifier("peft@type=LORA+options=r=2/lora_alpha=6/use_rslora=True+layers=1")
    layer: Any = model.get_submodule("trf_blocks.1.att.W_query")
    assert (layer.r["default"], layer.scaling["default"]) == (2, 6 / 2**0.5)
    assert len(inserted(model)) == 6
