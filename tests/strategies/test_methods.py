"""The methods that are written here, held against what their papers say in another form."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.classifier import make_classifier
from headtohead.core.config import CONFIGS, GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy
from headtohead.strategies.bottleneck import Adapted
from headtohead.strategies.check.bench import SMALL, small_dataset, small_gpt
from headtohead.strategies.linear_probe import LinearProbe
from headtohead.strategies.lora_book import LoraBook, LoRALayer
from headtohead.strategies.majority import Majority
from headtohead.strategies.parallel_adapter import Narrowed, ParallelAdapter, Widened
from headtohead.strategies.prefix_tuning import PrefixTuning
from headtohead.strategies.prompt_tuning import PromptTuning
from headtohead.strategies.side_tuning import SideTuning
from headtohead.strategies.tfidf_logreg import TfidfLogreg


def applied(strategy: Strategy) -> GPTModel:
    model = small_gpt().build()
    make_classifier(model, strategy, 2, seed=1)
    return model.eval()


def drawn_tokens(tokens: int) -> Tensor:
    """The tokens that a strategy draws right after the head under seed 1."""
    torch.manual_seed(1)
    nn.Linear(SMALL.emb_dim, 2)
    return torch.randint(SMALL.vocab_size, (tokens,))


def plain_with(head: nn.Module) -> GPTModel:
    model = small_gpt().build()
    model.out_head = head  # type: ignore[assignment]
    return model


def test_a_prompt_of_real_tokens_is_the_text_with_these_tokens_before_it() -> None:
    model, split = applied(PromptTuning(tokens=3)), small_dataset().train
    prompted = torch.cat([drawn_tokens(3).expand(len(split), -1), split.token_ids], dim=1)
    expected = plain_with(model.out_head).class_logits(prompted, split.last_position + 3)
    assert torch.allclose(model.class_logits(split.token_ids, split.last_position), expected, atol=1e-5)
    assert model(split.token_ids).shape == (*split.token_ids.shape, 2)


def test_a_prompt_works_in_a_model_of_one_block() -> None:
    config = GPTConfig(vocab_size=50, context_length=16, emb_dim=8, n_layers=1, n_heads=2)
    model = GPTModel(config)
    make_classifier(model, PromptTuning(tokens=4), 2, seed=1)
    assert model(torch.zeros(2, 12, dtype=torch.int64)).shape == (2, 12, 2)


def test_text_and_prompt_must_fit_into_the_context() -> None:
    model = applied(PromptTuning(tokens=60))
    assert model(torch.zeros(1, 4, dtype=torch.int64)).shape == (1, 4, 2)
    with pytest.raises(InputError, match="--max-length 4"):
        model(torch.zeros(1, 5, dtype=torch.int64))


def test_a_prefix_of_real_tokens_is_seen_by_a_text_that_keeps_its_positions() -> None:
    model, split = applied(PrefixTuning(tokens=3)), small_dataset().train
    plain = plain_with(model.out_head)
    prefix = plain.embed(drawn_tokens(3).expand(len(split), -1))
    hidden = plain.trf_blocks(torch.cat([prefix, plain.embed(split.token_ids)], dim=1))[:, 3:]
    expected = plain.out_head(plain.final_norm(hidden))
    assert torch.allclose(model(split.token_ids), expected, atol=1e-5)


def test_no_gradient_flows_through_the_model_beside_the_ladder() -> None:
    model, split = applied(SideTuning()), small_dataset().train
    nn.init.normal_(model.get_parameter(f"trf_blocks.{SMALL.n_layers - 1}.up.weight"))
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    model.class_logits(split.token_ids, split.last_position).sum().backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert {name for name in without if "trf_blocks" in name} == {
        name for name, _ in model.named_parameters() if ".block." in name
    }


def test_a_parallel_adapter_adds_to_the_perceptron() -> None:
    model = applied(ParallelAdapter(width=5, scale=3.0))
    wide, narrow = (model.get_submodule(f"trf_blocks.0.ff.layers.{index}") for index in (0, 2))
    assert isinstance(wide, Widened) and isinstance(narrow, Narrowed)
    nn.init.normal_(narrow.up.weight)
    x = torch.randn(2, 7, SMALL.emb_dim)
    plain = small_gpt().build().get_submodule("trf_blocks.0.ff")
    beside = 3.0 * narrow.up(F.gelu(wide.down(x), approximate="tanh"))
    assert torch.allclose(model.get_submodule("trf_blocks.0.ff")(x), plain(x) + beside, atol=1e-4)


def test_an_adapter_begins_as_the_identity_and_adds_after() -> None:
    linear, x = nn.Linear(4, 6), torch.randn(3, 4)
    adapted = Adapted(linear, 2)
    assert torch.equal(adapted(x), linear(x))
    nn.init.ones_(adapted.up.bias)
    assert torch.allclose(adapted(x), linear(x) + 1)


def test_the_books_lora_has_its_count_and_both_scales() -> None:
    assert LoraBook().parameter_count(CONFIGS["124M"]) == 2_666_528
    scales = {}
    for divide in (True, False):
        model = applied(LoraBook(r=4, alpha=8.0, divide_by_r=divide))
        scales[divide] = {layer.scale for layer in model.modules() if isinstance(layer, LoRALayer)}
        assert all(
            ".lora." in name for name, parameter in model.named_parameters() if parameter.requires_grad
        )
    assert scales == {True: {2.0}, False: {8.0}}


def test_the_majority_is_counted() -> None:
    prediction = Majority().fit_predict(["a", "b", "c", "d"], torch.tensor([1, 0, 1, 1]), ["x", "y"], 2, 1)
    assert torch.allclose(prediction.logits.softmax(dim=-1), torch.tensor([0.25, 0.75]))
    assert prediction.logits.argmax(dim=-1).tolist() == [1, 1]


def test_a_bag_of_words_learns_which_words_tell() -> None:
    texts = [f"cash {n}" for n in range(10)] + [f"dinner {n}" for n in range(10)]
    labels = torch.tensor([1] * 10 + [0] * 10)
    prediction = TfidfLogreg().fit_predict(texts, labels, ["CASH today", "dinner today"], 2, 1)
    assert prediction.logits.argmax(dim=-1).tolist() == [1, 0]
    assert prediction.parameters == 12 + 1  # cash, dinner, 0 ... 9, and the intercept


def test_the_probe_finds_the_direction_and_needs_two_of_every_class() -> None:
    labels = torch.arange(40) % 2
    features = 0.1 * torch.randn(40, 6, generator=torch.Generator().manual_seed(1))
    features[:, 2] += labels
    prediction = LinearProbe().fit_predict(features, labels, features, 2, 1)
    assert torch.equal(prediction.logits.argmax(dim=-1), labels) and prediction.parameters == 7
    assert prediction.logits.exp().sum(dim=-1).tolist() == pytest.approx([1.0] * 40)
    with pytest.raises(InputError, match="at least 2"):
        LinearProbe().fit_predict(features[:3], torch.tensor([0, 0, 1]), features, 2, 1)
