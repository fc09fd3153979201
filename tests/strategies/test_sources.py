"""Where strategies follow their papers and packages, and where they say that they do not."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from headtohead.core.classifier import make_classifier
from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy
from headtohead.core.weights.random import random_pretrained
from headtohead.strategies import build_variants
from headtohead.strategies.side_tuning import Rung

CONFIG = GPTConfig(vocab_size=64, context_length=32, emb_dim=64, n_layers=4, n_heads=4)
# By the book's package: GPTModel of ch04 with the weights of random_tensors(SMALL_CONFIG, 7, 0.1), manual_seed(123), a
# head Linear(32, 2), replace_linear_with_lora(model, rank=4, alpha=8) of appendix_e; then twelve steps of
# AdamW(lr=5e-3, weight_decay=0.1) on batches of a generator seeded with 8.
TRACE = Path(__file__).parent / "lora_book_trace.json"
SMALL_CONFIG = GPTConfig(vocab_size=64, context_length=16, emb_dim=32, n_layers=2, n_heads=4)


def classifier(label: str, config: GPTConfig = CONFIG, seed: int = 1) -> tuple[GPTModel, Strategy]:
    strategy = build_variants([label])[0].strategy
    assert isinstance(strategy, Strategy)
    model = random_pretrained("small", config, 7, "random", spread=0.1).build()
    make_classifier(model, strategy, 2, seed)
    return model, strategy


def test_lora_book_repeats_the_books_package() -> None:
    trace = json.loads(TRACE.read_text(encoding="utf-8"))
    label = "lora_book@r=4+alpha=8+divide_by_r=false+learning_rate=5e-3"
    model, strategy = classifier(label, SMALL_CONFIG, seed=123)
    drawn = {name: each for name, each in model.named_parameters() if each.requires_grad}
    content = b"".join(drawn[name].detach().numpy().tobytes() for name in sorted(drawn))
    assert hashlib.sha256(content).hexdigest() == trace["lora_sha256"]  # bit by bit, so in the same order
    assert sum(each.numel() for each in drawn.values()) == trace["trainable"]
    optimizer = torch.optim.AdamW(strategy.param_groups(model))
    generator = torch.Generator().manual_seed(8)
    losses = []
    for _ in range(len(trace["losses"])):
        tokens = torch.randint(64, (8, 16), generator=generator)
        labels = torch.randint(2, (8,), generator=generator)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(tokens)[:, -1], labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(trace["losses"], rel=0, abs=1e-5)
    assert torch.allclose(model(tokens)[:, -1], torch.tensor(trace["logits"]), rtol=0, atol=1e-4)


def test_from_scratch_draws_as_gpt2_or_as_torch() -> None:
    gpt2, torch_own = (classifier(f"from_scratch@init={init}")[0] for init in ("gpt2", "torch"))
    for name, each in gpt2.named_parameters():
        if name.endswith(("out_proj.weight", "layers.2.weight")):
            assert each.std().item() == pytest.approx(0.02 / 8**0.5, rel=0.05)
        elif name.endswith(".weight") and "out_head" not in name:
            assert each.std().item() == pytest.approx(0.02, rel=0.05)
    assert torch_own.tok_emb.weight.std().item() == pytest.approx(1.0, rel=0.05)  # N(0, 1)
    inner = torch_own.get_parameter("trf_blocks.0.ff.layers.2.weight")
    assert inner.abs().max().item() == pytest.approx(1 / 256**0.5, rel=0.01)  # uniform, by the inputs
    assert torch.equal(torch_own.get_parameter("final_norm.scale"), torch.ones(64))
    assert torch.equal(torch_own.out_head.weight, gpt2.out_head.weight)  # drawn before either


@pytest.mark.parametrize(
    ("label", "spared"),
    [
        ("prefix_tuning", ("prefix_keys", "prefix_values")),
        ("vera", ("vera_lambda_d",)),
        ("dora", ("lora_magnitude_vector",)),
        ("delora", ("delora_lambda",)),
        ("lora", ()),
    ],
)
def test_what_does_not_begin_at_zero_is_not_pulled_there(label: str, spared: tuple[str, ...]) -> None:
    model, strategy = classifier(label)
    decays = {
        id(each): group["weight_decay"] for group in strategy.param_groups(model) for each in group["params"]
    }
    found = set()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            kind = next((word for word in spared if word in name), None)
            assert decays[id(parameter)] == (0.0 if kind else strategy.weight_decay), name
            found.add(kind)
    assert found - {None} == set(spared)


@pytest.mark.parametrize("label", ["bitfit", "ia3", "norms", "boft", "road"])
def test_scales_and_biases_have_no_weight_decay(label: str) -> None:
    _, strategy = classifier(label)
    assert strategy.weight_decay == 0.0


def test_the_ladder_begins_at_the_embeddings() -> None:
    model, _ = classifier("side_tuning")
    first = model.trf_blocks[0]
    assert isinstance(first, Rung) and isinstance(first.entry, nn.Linear)
    with torch.no_grad():
        first.gate.fill_(-100.0)  # nothing of the block: the state is that of the embeddings alone
        x = torch.randn(2, 5, CONFIG.emb_dim)
        state = first(x)[..., CONFIG.emb_dim :]
        assert torch.allclose(state, first.side_block(first.entry(x)))
    assert all(isinstance(rung, Rung) and rung.entry is None for rung in list(model.trf_blocks)[1:])


def test_gradual_unfreezing_reaches_the_first_block_where_it_is_asked_to() -> None:
    model, strategy = classifier("gradual_unfreezing@blocks=4")
    strategy.before_training(model, epochs=5, steps_per_epoch=2)
    for step in range(10):
        assert model.get_parameter("trf_blocks.0.norm1.scale").requires_grad == (step >= 8)
        strategy.after_step(model, step)
    assert not model.tok_emb.weight.requires_grad


@pytest.mark.parametrize("label", ["adalora@target_r=12", "adalora@final=0.95", "adalora@target_r=13"])
def test_adalora_refuses_a_schedule_without_pruning_before_training(label: str) -> None:
    with pytest.raises(InputError, match=r"adalora\.(target_r|warmup)"):
        classifier(label)


def test_adalora_needs_some_steps() -> None:
    model, strategy = classifier("adalora")
    with pytest.raises(InputError, match="1 training steps are too few"):
        strategy.before_training(model, epochs=1, steps_per_epoch=1)


@pytest.mark.parametrize(
    ("label", "field"),
    [
        ("vera", "projection_seed"),
        ("randlora", "projection_seed"),
        ("shira", "mask_seed"),
        ("fourierft", "places_seed"),
    ],
)
def test_what_is_drawn_once_for_all_follows_from_its_field_and_not_from_the_seed(
    label: str, field: str
) -> None:
    """The fixed part is what the update does for equal trained values."""

    def update(labelled: str, seed: int) -> torch.Tensor:
        model, _ = classifier(labelled, seed=seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    generator = torch.Generator().manual_seed(len(name))
                    parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
            return model(torch.arange(8)[None])

    assert torch.equal(update(label, 1), update(label, 2))
    assert not torch.allclose(update(label, 1), update(f"{label}@{field}=5", 1))
    assert "Seeds:" in (type(classifier(label)[1]).__doc__ or "")


def test_doras_and_c3as_gradients_are_as_declared() -> None:
    """Both are not the loss's slope: by the paper's choice, and by PEFT's backward pass of the input."""
    from headtohead.strategies.check.behaviour import gradients_are_complete
    from headtohead.strategies.check.bench import Bench
    from headtohead.strategies.check.findings import CheckFailed

    for label in ("dora", "c3a"):
        (variant,) = build_variants([label])
        exact = type("Exact", (type(variant.strategy),), {"exact_gradients": True})
        with pytest.raises(CheckFailed, match="is not the slope of the loss"):
            gradients_are_complete(Bench(replace(variant, strategy=exact())))


def test_an_old_name_is_answered_with_the_new_one() -> None:
    with pytest.raises(InputError, match="did you mean 'linear_probe'"):
        build_variants(["linear_probe_closed_form"])
