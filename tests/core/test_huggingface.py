"""Checkpoints of transformers: the same logits, the same weights as OpenAI's, each kind of damage named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from headtohead.core.config import CONFIGS, GPTConfig
from headtohead.core.data import load_dataset
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.tokenizer import GPT2, gpt2_encoding
from headtohead.core.weights import find_pretrained, hub, openai
from headtohead.core.weights.huggingface import name_map
from headtohead.core.weights.layout import join_parameters
from tests.checkpoints import hub_cache, random_variables, transformers_names, write_checkpoint

transformers = pytest.importorskip("transformers")

SMALL = GPTConfig(emb_dim=16, n_layers=2, n_heads=2, context_length=32)
SIX_LAYERS = GPTConfig(emb_dim=24, n_layers=6, n_heads=3, context_length=48)  # as many as DistilGPT2 has


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has cache folders of its own."""
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def gpt2_of(config: GPTConfig, head: bool = True, **settings: Any) -> Any:
    """transformers' GPT-2 with random weights, biases and norms among them."""
    about = transformers.GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.emb_dim,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        **settings,
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(about) if head else transformers.GPT2Model(about)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def save(folder: Path, config: GPTConfig = SMALL, head: bool = True, **settings: Any) -> Path:
    gpt2_of(config, head, **settings).save_pretrained(folder)
    return folder


def change_json(path: Path, change: dict[str, object]) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refusal(folder: Path, model: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        find_pretrained(model, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- values ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", [SMALL, SIX_LAYERS], ids=["small", "six layers"])
@pytest.mark.parametrize("head", [True, False], ids=["with head", "without"])
def test_logits_equal_those_of_transformers(config: GPTConfig, head: bool, tmp_path: Path) -> None:
    model = gpt2_of(config)
    (model if head else model.transformer).save_pretrained(tmp_path / "mine")
    pretrained = find_pretrained(None, tmp_path / "mine")
    assert (pretrained.config, pretrained.name, pretrained.tokenizer) == (config, "mine", None)
    token_ids = torch.randint(config.vocab_size, (3, 20))
    with torch.no_grad():
        difference = pretrained.build()(token_ids) - model(token_ids).logits
    assert float(difference.abs().max()) < 1e-4


@pytest.mark.parametrize("source", ["demo", "random:demo", "openai"])
def test_every_source_has_the_logits_of_transformers(source: str, tmp_path: Path) -> None:
    """The same tensors in transformers' own GPT-2."""
    folder = write_checkpoint(tmp_path / "w", SMALL) if source == "openai" else None
    pretrained = find_pretrained(None if folder else source, folder)
    state = pretrained.build().state_dict()
    other = gpt2_of(pretrained.config)
    values = {
        f"transformer.{name}": join_parameters([state[each] for each in parameters], layout)
        for name, (layout, parameters) in name_map(pretrained.config).items()
    }
    assert not other.load_state_dict(values, strict=False).unexpected_keys
    other.tie_weights()
    token_ids = torch.randint(pretrained.config.vocab_size, (2, 20))
    with torch.no_grad():
        difference = pretrained.build()(token_ids) - other(token_ids).logits
    assert float(difference.abs().max()) < 1e-4


def test_shards_are_read_as_one_file_is(tmp_path: Path) -> None:
    model = gpt2_of(SMALL)
    model.save_pretrained(tmp_path / "whole")
    model.save_pretrained(tmp_path / "shards", max_shard_size="1MB")
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 1
    whole, shards = (find_pretrained(None, tmp_path / name) for name in ("whole", "shards"))
    assert whole.sha256 == shards.sha256


def same_weights(config: GPTConfig, tmp_path: Path) -> tuple[Path, Path]:
    """The same random weights as OpenAI's checkpoint and as transformers saves them."""
    model = transformers.GPT2LMHeadModel(gpt2_of(config).config)
    values = transformers_names(random_variables(config), config)
    missing = model.load_state_dict(values, strict=False).missing_keys
    assert missing == ["lm_head.weight"]
    model.tie_weights()
    model.save_pretrained(tmp_path / "transformers")
    return write_checkpoint(tmp_path / "openai", config), tmp_path / "transformers"


def check_same(config: GPTConfig, tmp_path: Path) -> None:
    first, second = (find_pretrained(None, folder) for folder in same_weights(config, tmp_path))
    assert first.sha256 == second.sha256
    token_ids = torch.randint(config.vocab_size, (2, 12))
    with torch.no_grad():
        assert torch.equal(first.build()(token_ids), second.build()(token_ids))


def test_the_same_weights_in_both_formats_are_bit_equal(tmp_path: Path) -> None:
    check_same(SMALL, tmp_path)


@pytest.mark.slow
def test_the_same_weights_in_both_formats_are_bit_equal_at_124m(tmp_path: Path) -> None:
    check_same(CONFIGS["124M"], tmp_path)


@pytest.mark.slow
def test_distilgpt2s_shape_loads(tmp_path: Path) -> None:
    distil = GPTConfig(emb_dim=768, n_layers=6, n_heads=12)
    model = gpt2_of(distil)
    model.save_pretrained(tmp_path / "distilgpt2")
    pretrained = find_pretrained(None, tmp_path / "distilgpt2")
    token_ids = torch.randint(distil.vocab_size, (2, 16))
    with torch.no_grad():
        difference = pretrained.build()(token_ids) - model(token_ids).logits
    assert (pretrained.config, pretrained.name) == (distil, "distilgpt2")
    assert float(difference.abs().max()) < 1e-4


def test_masks_of_older_files_and_a_classifiers_head_are_left_out(tmp_path: Path) -> None:
    plain = find_pretrained(None, save(tmp_path / "plain", head=False)).sha256
    folder = save(tmp_path / "old", head=False)
    extra = {"h.0.attn.bias": torch.ones(1, 1, 32, 32), "score.weight": torch.ones(2, 16)}
    change_tensors(folder, lambda tensors: tensors.update(extra))
    assert find_pretrained(None, folder).sha256 == plain


def test_half_precision_is_read_exactly(tmp_path: Path) -> None:
    gpt2_of(SMALL).to(torch.bfloat16).save_pretrained(tmp_path / "half")
    tensors = load_file(tmp_path / "half" / "model.safetensors")
    state = find_pretrained(None, tmp_path / "half").build().state_dict()
    assert torch.equal(state["tok_emb.weight"], tensors["transformer.wte.weight"].float())


# --- what is refused ---------------------------------------------------------------------------------------


def test_a_pickled_file_is_refused_in_words(tmp_path: Path) -> None:
    folder = save(tmp_path / "old")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    message = refusal(folder)
    assert f"{folder / 'pytorch_model.bin'} is a pickled file" in message
    assert "may run code" in message and "save_pretrained" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "llama"}, "model_type is 'llama', but only gpt2"),
        ({"activation_function": "relu"}, "activation_function is 'relu', but GPT-2 has 'gelu_new'"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon is 1e-06"),
        ({"scale_attn_by_inverse_layer_idx": True}, "computes something else"),
        ({"n_inner": 32}, "n_inner is 32"),
        ({"n_embd": 32}, "has the shape"),
        ({"n_layer": 3}, "has no tensor h.2."),
        ({"n_layer": 1}, "'h.1.attn.c_attn.bias', which the model of config.json does not have"),
        ({"n_head": "2"}, "n_head is '2', but must be a whole number"),
        ({"n_positions": None}, "n_positions is None"),
        ({"vocab_size": 10}, "a vocabulary of 10 tokens"),
    ],
)
def test_a_config_that_does_not_fit_is_named(change: dict[str, object], words: str, tmp_path: Path) -> None:
    folder = save(tmp_path / "w")
    change_json(folder / "config.json", change)
    message = refusal(folder)
    assert words in message and str(folder) in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tensors: tensors.pop("transformer.ln_f.bias"), "has no tensor ln_f.bias"),
        (lambda tensors: tensors["transformer.wpe.weight"].fill_(float("nan")), "no finite numbers"),
        (lambda tensors: tensors.update({"transformer.x": torch.ones(1)}), "has the tensor 'x'"),
        (lambda tensors: tensors.update({"ln_f.bias": torch.ones(16)}), "ln_f.bias is there twice"),
        (
            lambda tensors: tensors.update({"transformer.ln_f.bias": torch.ones(16, dtype=torch.float64)}),
            "ln_f.bias is F64",
        ),
        (
            lambda tensors: tensors.update({"lm_head.weight": torch.ones(50257, 16)}),
            "lm_head.weight is not the token embedding",
        ),
    ],
    ids=["missing", "nan", "unknown", "twice", "type", "head"],
)
def test_tensors_that_do_not_fit_are_named(
    change: Callable[[dict[str, Tensor]], object], words: str, tmp_path: Path
) -> None:
    folder = save(tmp_path / "w")
    change_tensors(folder, change)
    assert words in refusal(folder)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize("kept", [0, 4, 1000, -100])
def test_a_truncated_file_is_named(kept: int, tmp_path: Path) -> None:
    folder = save(tmp_path / "w")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(folder).startswith(f"{path} cannot be read as safetensors")


def test_an_index_may_name_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    folder = save(tmp_path / "w")
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    index = {"weight_map": {"wte.weight": "../model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "only .safetensors beside it are read" in refusal(folder)
    index = {"weight_map": {"wte.weight": "model-1.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "names the file model-1.safetensors, which is not in" in refusal(folder)


def test_a_folder_of_another_size_is_refused(tmp_path: Path) -> None:
    assert "124M has vocab_size 50257, n_positions 1024" in refusal(save(tmp_path / "124M").parent, "124M")


# --- the Hub and its cache ---------------------------------------------------------------------------------


def no_network(*_: object, **__: object) -> Path:
    raise Unavailable("no network")


def test_a_name_is_found_in_the_users_cache(tmp_path: Path) -> None:
    hub_cache(tmp_path / "hub", "distilbert/distilgpt2", save(tmp_path / "w"))
    for name in ("hf:distilbert/distilgpt2", "hf:distilgpt2"):
        pretrained = find_pretrained(name, None, download=False)
        assert (pretrained.name, pretrained.config) == (name, SMALL)
        assert "https://huggingface.co/" in pretrained.source and "commit 0123abc" in pretrained.source


def test_a_published_size_comes_from_the_hubs_cache_where_openais_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONFIGS, "124M", SMALL)
    monkeypatch.setattr(openai, "download_file", no_network)
    hub_cache(tmp_path / "hub", "openai-community/gpt2", save(tmp_path / "w"))
    pretrained = find_pretrained("124M", None)
    assert pretrained.name == "124M"
    assert pretrained.source.startswith("https://huggingface.co/openai-community/gpt2")


def test_the_hub_is_the_third_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "774M", SMALL)
    monkeypatch.setattr(openai, "download_file", no_network)
    folder = save(tmp_path / "w")
    asked: list[str] = []

    def download(name: str, allowed: bool) -> Path:
        asked.append(name)
        return folder

    monkeypatch.setattr(hub, "download", download)
    assert find_pretrained("774M", None).name == "774M"
    assert asked == ["openai-community/gpt2-large"]


def test_names_that_the_hub_cannot_have(tmp_path: Path) -> None:
    for name in ("hf:", "hf:../x", "hf:a/b/c", "hf:a\nb"):
        with pytest.raises(InputError, match="comes the name of a model on the Hub"):
            find_pretrained(name, None, download=False)
    with pytest.raises(InputError, match="leave out either"):
        find_pretrained("hf:distilgpt2", tmp_path)
    with pytest.raises(Unavailable, match="downloading is switched off; to supply it"):
        find_pretrained("hf:distilgpt2", None, download=False)


# --- tokenizers --------------------------------------------------------------------------------------------


def save_tokenizer(folder: Path, vocabulary_size: int = 300) -> Any:
    """A byte-pair encoding of its own."""
    tokenizers = pytest.importorskip("tokenizers")
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(["the rain in spain stays mainly in the plain"] * 5, trainer)
    inner.save(str(folder / "tokenizer.json"))
    return inner


def test_a_tokenizer_of_its_own_is_used(tmp_path: Path) -> None:
    config = GPTConfig(vocab_size=300, emb_dim=16, n_layers=2, n_heads=2, context_length=64)
    folder = save(tmp_path / "w", config, eos_token_id=0, bos_token_id=0)
    inner = save_tokenizer(folder)
    pretrained = find_pretrained(None, folder)
    tokenizer = pretrained.tokenizer
    assert tokenizer is not None
    assert tokenizer.encode("the rain") == inner.encode("the rain").ids
    assert tokenizer.decode(tokenizer.encode("rain <|endoftext|>")) == "rain <|endoftext|>"
    assert 0 not in tokenizer.encode("<|endoftext|>") and tokenizer.pad_id == 0
    (folder / "tokenizer.json").unlink()
    assert "a vocabulary of 300 tokens" in refusal(folder)


def test_the_messages_of_a_run_are_read_by_it(tmp_path: Path) -> None:
    config = GPTConfig(vocab_size=300, emb_dim=16, n_layers=2, n_heads=2, context_length=256)
    folder = save(tmp_path / "w", config, eos_token_id=0, bos_token_id=0)
    save_tokenizer(folder)
    pretrained = find_pretrained(None, folder)
    dataset = load_dataset("demo", context_length=256, max_length=32, tokenizer=pretrained.tokenizer)
    assert int(dataset.train.token_ids.max()) < 300
    assert pretrained.tokenizer is not None
    expected = pretrained.tokenizer.encode(dataset.train.texts[0])[:32]
    assert dataset.train.token_ids[0, : len(expected)].tolist() == expected


def test_gpt2s_tokenizer_is_recognised(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder = save(tmp_path / "w")
    shutil.copy(bpe_file("encoder.json"), folder / "vocab.json")
    shutil.copy(bpe_file("vocab.bpe"), folder / "merges.txt")
    plain = find_pretrained(None, folder)
    assert plain.tokenizer is None
    inner = tokenizers.Tokenizer(
        tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    )
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.save(str(folder / "tokenizer.json"))
    assert find_pretrained(None, folder).tokenizer is None
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.save(str(folder / "tokenizer.json"))
    other = find_pretrained(None, folder)
    assert other.tokenizer is not None and other.sha256 != plain.sha256


def bpe_file(name: str) -> Path:
    from headtohead.core.tokenizer import _checked_bpe_file

    return _checked_bpe_file(name)


def test_gpt2s_tokenizer_has_the_same_face() -> None:
    assert GPT2.encode("Every effort") == gpt2_encoding().encode_ordinary("Every effort")
    assert GPT2.decode(GPT2.encode("moves you")) == "moves you"


# --- random weights ----------------------------------------------------------------------------------------


def test_random_weights_have_the_shape_of_what_they_contrast(tmp_path: Path) -> None:
    folder = save(tmp_path / "mine")
    pretrained, contrast = find_pretrained(None, folder), find_pretrained("random:", folder)
    assert contrast.config == pretrained.config and contrast.sha256 != pretrained.sha256
    assert (contrast.name, contrast.weights_dir) == ("random:mine", folder)
    assert "random weights in the shape of mine" in contrast.source
    assert find_pretrained("random:mine", folder) == contrast
    demo = find_pretrained("random:demo", None)
    assert demo.is_demo and demo.name == "random:demo" and demo.config == CONFIGS["demo"]
