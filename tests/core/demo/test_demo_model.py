"""The demo model's file: small, loaded in a moment, whole or refused, and no copy of the messages it is tried on."""

import csv
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from headtohead.core.config import END_OF_TEXT, VOCABULARY
from headtohead.core.demo import corpus, load
from headtohead.core.demo.load import DEMO_SHA256, DEMO_WEIGHTS, demo_config, demo_tensors
from headtohead.core.errors import InputError
from headtohead.core.files import sha256_of
from headtohead.core.model import GPTModel
from headtohead.core.sources import DEMO_FILE
from headtohead.core.tokenizer import gpt2_encoding
from tests.paths import PRETRAINING, SMS, WHY_SKIPPED

MOST_BYTES = 10_000_000
WORD = re.compile(r"[\w']+")


@pytest.fixture(scope="module")
def model() -> GPTModel:
    tensors = demo_tensors()
    model = GPTModel(demo_config())
    model.load_state_dict(tensors | {"out_head.weight": tensors["tok_emb.weight"]})
    return model.eval()


def test_the_file_is_small_and_the_one_that_the_code_names() -> None:
    assert DEMO_WEIGHTS.stat().st_size <= MOST_BYTES
    assert sha256_of(DEMO_WEIGHTS) == DEMO_SHA256


def test_it_loads_in_less_than_a_second_and_fills_a_plain_model() -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        tensors = demo_tensors()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1.0
    expected = {name: value.shape for name, value in GPTModel(demo_config()).state_dict().items()}
    del expected["out_head.weight"]
    assert {name: tensor.shape for name, tensor in tensors.items()} == expected
    assert expected["tok_emb.weight"] == (VOCABULARY, 128)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in tensors.values())


def test_every_position_was_trained() -> None:
    lengths = demo_tensors()["pos_emb.weight"].norm(dim=1)
    assert lengths.min() > 0.3 * lengths.median()


@pytest.mark.parametrize("damage", ["cut", "changed", "absent"])
def test_a_damaged_file_is_refused(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(DEMO_WEIGHTS.read_bytes())
    content[len(content) // 2] ^= 1
    path = tmp_path / "model.safetensors"
    if damage != "absent":
        path.write_bytes(content if damage == "changed" else content[:-5])
    monkeypatch.setattr(load, "DEMO_WEIGHTS", path)
    with pytest.raises(InputError, match="reinstall headtohead") as error:
        demo_tensors()
    assert str(path) in str(error.value)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InputError, match="is no demo model"):
        load.expanded(b"not safetensors", "model.safetensors")


def test_padding_carries_the_message(model: GPTModel) -> None:
    """Behind forty tokens of padding, words of the message are likelier than those of another one."""
    encoding = gpt2_encoding()
    messages = [
        encoding.encode_ordinary(text) for text in ("the train to London is late", "your bank card expired")
    ]
    padded = torch.tensor([message + [END_OF_TEXT] * (48 - len(message)) for message in messages])
    with torch.inference_mode():
        logits = model(padded)[:, -1]  # (2, V)
    for row, words in enumerate(([" train", " London", " late"], [" bank", " card", " expired"])):
        tokens = [encoding.encode_single_token(word) for word in words]
        assert logits[row, tokens].mean() > logits[1 - row, tokens].mean() + 1.0


def test_the_log_ends_below_the_unigram() -> None:
    rows = list(
        csv.DictReader((DEMO_WEIGHTS.parent / "training_log.csv").read_text(encoding="utf-8").splitlines())
    )
    perplexity = [float(row["validation_perplexity_all"]) for row in rows]
    assert perplexity[-1] < perplexity[0] and perplexity[-1] < 200


# --- leakage -----------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    return WORD.findall(text.lower())


def runs(text: str, length: int = 8) -> Iterator[tuple[str, ...]]:
    """Every ``length`` consecutive words."""
    found = words(text)
    yield from (tuple(found[start : start + length]) for start in range(len(found) - length + 1))


def continuations(model: GPTModel, prompts: list[list[int]], length: int) -> list[str]:
    """Greedy; prompts of one length (B, T)."""
    tokens = torch.tensor(prompts)
    with torch.inference_mode():
        for _ in range(length):
            last = torch.full((len(tokens),), tokens.shape[1] - 1)
            tokens = torch.cat([tokens, model.class_logits(tokens, last).argmax(-1, keepdim=True)], dim=1)
    return [gpt2_encoding().decode(row) for row in tokens[:, len(prompts[0]) :].tolist()]


@pytest.mark.slow
@pytest.mark.skipif(not SMS.is_file(), reason=WHY_SKIPPED)
def test_continuations_repeat_no_message_of_the_sms_data(model: GPTModel) -> None:
    messages = [line.partition("\t")[2] for line in SMS.read_text(encoding="utf-8").splitlines()]
    forbidden = {run for message in messages for run in runs(message)}
    encoded = [gpt2_encoding().encode_ordinary(message)[:5] for message in messages[::20]]
    prompts = [tokens for tokens in encoded if len(tokens) == 5][:200]
    assert len(prompts) == 200
    repeated = [run for text in continuations(model, prompts, 32) for run in runs(text) if run in forbidden]
    assert not repeated


@pytest.mark.slow
@pytest.mark.skipif(not PRETRAINING.is_dir(), reason=WHY_SKIPPED)
def test_no_demo_message_is_a_text_of_the_pretraining() -> None:
    messages = {tuple(words(line.partition("\t")[2])) for line in DEMO_FILE.read_text("utf-8").splitlines()}
    for source in corpus.read_sources(PRETRAINING, seed=123):
        texts = {tuple(words(text)) for text in (*source.plain, *source.held_out)}
        assert not {" ".join(message) for message in messages & texts}, source.name


@pytest.mark.skipif(not PRETRAINING.is_dir(), reason=WHY_SKIPPED)
def test_the_notice_names_every_source() -> None:
    """The text's own list of sources, row by row: address and commit."""
    listed = re.findall(
        r"\| https://github.com/(\S+) \| (\w{12})", (PRETRAINING / "LICENCES.md").read_text("utf-8")
    )
    notice = (DEMO_WEIGHTS.parent / "NOTICE.md").read_text(encoding="utf-8")
    missing = [
        source for source, commit in listed if source.split("/")[1] not in notice or commit not in notice
    ]
    assert listed and not missing
