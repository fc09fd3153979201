"""The model against an independent implementation, and the properties the strategies rely on."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

from headtohead.core.config import CONFIGS, GPTConfig
from headtohead.core.model import GPTModel, LayerNorm

SMALL = GPTConfig(vocab_size=211, context_length=24, emb_dim=48, n_layers=3, n_heads=4)


def random_model(config: GPTConfig, seed: int = 0) -> GPTModel:
    """Every tensor random, biases and norms too, so that no swapped or forgotten one can go unnoticed."""
    torch.manual_seed(seed)
    model = GPTModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("scale") else 0.0, 0.05)
    return model


def transformers_twin(model: GPTModel) -> Any:
    """HF transformers' GPT2LMHeadModel with the same values."""
    config = model.config
    twin = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.context_length,
            n_embd=config.emb_dim,
            n_layer=config.n_layers,
            n_head=config.n_heads,
            tie_word_embeddings=False,
        )
    ).eval()
    with torch.no_grad():
        twin.transformer.wte.weight.copy_(model.tok_emb.weight)
        twin.transformer.wpe.weight.copy_(model.pos_emb.weight)
        twin.lm_head.weight.copy_(model.out_head.weight)
        copy_norm(model.final_norm, twin.transformer.ln_f)
        blocks: Any = zip(model.trf_blocks, twin.transformer.h, strict=True)
        for ours, theirs in blocks:
            copy_norm(ours.norm1, theirs.ln_1)
            copy_norm(ours.norm2, theirs.ln_2)
            copy_linears([ours.att.W_query, ours.att.W_key, ours.att.W_value], theirs.attn.c_attn)
            copy_linears([ours.att.out_proj], theirs.attn.c_proj)
            copy_linears([ours.ff.layers[0]], theirs.mlp.c_fc)
            copy_linears([ours.ff.layers[2]], theirs.mlp.c_proj)
    return twin


def copy_norm(ours: LayerNorm, theirs: nn.LayerNorm) -> None:
    theirs.weight.copy_(ours.scale)
    theirs.bias.copy_(ours.shift)


def copy_linears(ours: list[nn.Linear], theirs: Any) -> None:
    """transformers' Conv1D keeps weights as (in, out), several projections side by side."""
    theirs.weight.copy_(torch.cat([linear.weight for linear in ours]).T)
    theirs.bias.copy_(torch.cat([linear.bias for linear in ours]))


def random_tokens(config: GPTConfig, B: int, T: int) -> Tensor:
    return torch.randint(config.vocab_size, (B, T), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def assert_same_logits(config: GPTConfig, B: int, T: int) -> None:
    model = random_model(config)
    token_ids = random_tokens(config, B, T)
    expected = transformers_twin(model)(token_ids).logits
    assert expected.std() > 0.1  # near-zero logits would agree whatever the model computes
    torch.testing.assert_close(model(token_ids), expected, rtol=0, atol=1e-4)


def test_logits_equal_transformers() -> None:
    assert_same_logits(SMALL, B=3, T=SMALL.context_length)


@pytest.mark.slow
def test_logits_equal_transformers_at_124m() -> None:
    assert_same_logits(CONFIGS["124M"], B=2, T=64)


@torch.no_grad()
def test_class_logits_are_the_forward_logits_at_the_position() -> None:
    model = random_model(SMALL)
    model.out_head = nn.Linear(SMALL.emb_dim, 2)
    token_ids, position = random_tokens(SMALL, B=4, T=11), torch.tensor([10, 0, 4, 7])
    expected = model(token_ids)[torch.arange(4), position]
    torch.testing.assert_close(model.class_logits(token_ids, position), expected, rtol=0, atol=1e-6)


@torch.no_grad()
def test_what_comes_after_the_position_does_not_matter() -> None:
    model = random_model(SMALL)
    token_ids, position = random_tokens(SMALL, B=2, T=12), torch.tensor([5, 5])
    before = model.class_logits(token_ids, position)
    later, earlier = token_ids.clone(), token_ids.clone()
    later[:, 6:] = (later[:, 6:] + 1) % SMALL.vocab_size
    earlier[:, 2] = (earlier[:, 2] + 1) % SMALL.vocab_size
    torch.testing.assert_close(model.class_logits(later, position), before, rtol=0, atol=1e-6)
    assert not torch.allclose(model.class_logits(earlier, position), before, atol=1e-3)


@pytest.mark.parametrize(
    ("size", "published"),
    [("124M", 124_439_808), ("355M", 354_823_168), ("774M", 774_030_080), ("1558M", 1_557_611_200)],
)
def test_parameter_counts(size: str, published: int) -> None:
    config = CONFIGS[size]
    with torch.device("meta"):
        model = GPTModel(config)
    V, T, D, L = config.vocab_size, config.context_length, config.emb_dim, config.n_layers
    closed_form = (V + T) * D + L * (12 * D * D + 13 * D) + 2 * D  # the output head is tied to the embedding
    counted = sum(parameter.numel() for parameter in model.parameters()) - model.out_head.weight.numel()
    assert counted == closed_form == published


def test_dropout_is_off_by_default_and_on_where_asked() -> None:
    token_ids = random_tokens(SMALL, B=2, T=8)
    model = random_model(SMALL)
    assert all(config.drop_rate == 0.0 for config in CONFIGS.values())
    assert torch.equal(model.train()(token_ids), model.eval()(token_ids))
    with_dropout = random_model(GPTConfig(**(vars(SMALL) | {"drop_rate": 0.5})))
    assert not torch.equal(with_dropout.train()(token_ids), with_dropout.eval()(token_ids))


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="50 is not a multiple of n_heads 4"):
        GPTConfig(emb_dim=50, n_heads=4)
