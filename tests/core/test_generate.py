"""Generated texts: the greedy one is transformers', the drawn ones stay among the most probable tokens."""

import pytest
import torch

from headtohead.core.generate import continue_text, generate, main
from headtohead.core.tokenizer import GPT2
from tests import small

START = torch.tensor([[6109, 3626, 6100, 345], [1, 2, 3, 4]])


def test_greedy_text_is_that_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    from headtohead.core.weights.huggingface import name_map
    from headtohead.core.weights.layout import join_parameters

    model = small.random_model()
    state = model.state_dict()
    about = transformers.GPT2Config(
        n_positions=64, n_embd=32, n_layer=3, n_head=4, eos_token_id=None, bos_token_id=None
    )
    other = transformers.GPT2LMHeadModel(about).eval()
    values = {
        f"transformer.{name}": join_parameters([state[each] for each in parameters], layout)
        for name, (layout, parameters) in name_map(model.config).items()
    }
    assert other.load_state_dict(values, strict=False).missing_keys in ([], ["lm_head.weight"])
    expected = other.generate(
        START, attention_mask=torch.ones_like(START), max_new_tokens=20, do_sample=False, pad_token_id=0
    )
    assert torch.equal(generate(model, START, 20), expected)


def test_a_text_ends_where_the_model_ends_it() -> None:
    model = small.random_model()
    whole = generate(model, START, 8)
    end = int(whole[0, 6])
    ended = generate(model, START[:1], 8, end_id=end)
    first = whole[0].tolist().index(end, 4)
    assert ended[0].tolist() == whole[0, : first + 1].tolist()
    both = generate(model, START, 8, end_id=end)
    assert set(both[0, first:].tolist()) == {end}


def test_what_is_drawn_follows_seed_temperature_and_top_k() -> None:
    model = small.random_model()

    def drawn(seed: int, **settings: float) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return generate(model, START[:1], 12, generator=generator, **settings)[0].tolist()  # type: ignore[arg-type]

    greedy = generate(model, START[:1], 12)[0].tolist()
    assert drawn(1, temperature=1.0) == drawn(1, temperature=1.0) != drawn(2, temperature=1.0)
    assert drawn(1, temperature=1.0, top_k=1) == greedy
    assert drawn(1, temperature=1e-4) == greedy
    step = [int(drawn(seed, temperature=5.0, top_k=3)[4]) for seed in range(30)]
    best = model(START[:1])[0, -1].topk(3).indices.tolist()
    assert set(step) == set(best)


def test_texts_longer_than_the_context_go_on() -> None:
    text = continue_text(small.random_model(), GPT2, "word " * 100, 3)
    assert text.startswith("word word")


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    small.use_tiny_demo(monkeypatch)
    assert main(["Every effort moves you", "--model", "demo", "--tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("Every effort moves you")
    for bad in (
        ["--tokens", "0"],
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--top-k", "0", "--temperature", "1"],
        ["--top-k", "5"],
        ["--seed", "-1"],
        ["--model", "125M"],
        ["--device", "gpu"],
    ):
        assert main(["text", "--model", "demo", *bad]) == 2
    assert main(["", "--model", "demo"]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())
