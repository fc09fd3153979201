"""The tokenizer that lies beside a checkpoint in Hugging Face's format, where it is not GPT-2's own.

Two forms are read, both plain text: ``tokenizer.json`` of the tokenizers library, and ``vocab.json`` with
``merges.txt``, as GPT-2 has them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headtohead.core.errors import InputError
from headtohead.core.json_files import read_object
from headtohead.core.tokenizer import gpt2_encoding

if TYPE_CHECKING:
    import tokenizers

TOKENIZER_FILE, VOCABULARY_FILE, MERGES_FILE = "tokenizer.json", "vocab.json", "merges.txt"
FIX = "replace it by an intact copy"


class OwnTokenizer:
    """A tokenizer of the tokenizers library as ``core.tokenizer.Tokenizer`` has it.

    Args:
        inner: of the library.
        pad_id: fills what is behind a message.
        end_id: ends a generated text; None for nothing.
    """

    def __init__(self, inner: "tokenizers.Tokenizer", pad_id: int, end_id: int | None) -> None:
        inner.no_truncation()
        inner.no_padding()
        inner.encode_special_tokens = True  # the name of a special token in a message is text
        self.inner, self.pad_id, self.end_id = inner, pad_id, end_id

    def encode(self, text: str) -> list[int]:
        """As ``core.tokenizer.Tokenizer``."""
        ids: list[int] = self.inner.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """As ``core.tokenizer.Tokenizer``."""
        text: str = self.inner.decode(list(token_ids), skip_special_tokens=False)
        return text

    @property
    def sha256(self) -> str:
        """Identifies what it does."""
        facts = [self.inner.to_str(), self.pad_id]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds one of the two forms."""
    return (folder / TOKENIZER_FILE).is_file() or (folder / VOCABULARY_FILE).is_file()


def own_tokenizer(folder: Path, vocab_size: int, config: Mapping[str, Any]) -> OwnTokenizer | None:
    """The folder's tokenizer; None where it is GPT-2's or none is there.

    Args:
        folder: holds the files.
        vocab_size: how many tokens the model has.
        config: the checkpoint's config.json, whose pad_token_id or eos_token_id pads.

    Raises:
        InputError: a file that cannot be read, or a token number that the model does not have.
    """
    if not has_tokenizer(folder) or _is_gpt2(folder):
        return None
    inner, path = _read(folder)
    if inner.get_vocab_size() > vocab_size:
        raise InputError(
            f"{path} has {inner.get_vocab_size():,} tokens, but the model beside it only {vocab_size:,}; "
            "the two do not belong together"
        )
    known = [config.get(key) for key in ("pad_token_id", "eos_token_id", "bos_token_id")]
    usable = [number for number in known if type(number) is int and 0 <= number < vocab_size]
    end = config.get("eos_token_id")
    return OwnTokenizer(inner, usable[0] if usable else 0, end if end in usable else None)


def _is_gpt2(folder: Path) -> bool:
    """Whether its tokens are GPT-2's, by the vocabulary and how a few texts are cut; special tokens aside."""
    path = folder / TOKENIZER_FILE
    if path.is_file():
        model = read_object(path, FIX).get("model")
        vocabulary = model.get("vocab") if isinstance(model, dict) else None
    else:
        vocabulary = read_object(folder / VOCABULARY_FILE, FIX)
    if not isinstance(vocabulary, dict) or not _same_numbers(vocabulary):
        return False
    inner, _ = _read(folder)
    mine = gpt2_encoding()
    return all(
        inner.encode(text, add_special_tokens=False).ids == mine.encode_ordinary(text) for text in PROBES
    )


# Case, digits, spaces, contractions, other scripts: what tokenizers that share a vocabulary may treat differently.
PROBES = (
    "You're a WINNER!! call 0800-123",
    "  two spaces,\n\ttab ",
    "naïve café Straße 日本語 😀",
    "it's it'S",
)


def _same_numbers(vocabulary: Mapping[str, Any]) -> bool:
    """Whether every token of GPT-2 has its number; more tokens than these are special ones."""
    encoding = gpt2_encoding()
    symbols = _byte_symbols()
    return all(
        vocabulary.get("".join(symbols[byte] for byte in encoding.decode_single_token_bytes(number)))
        == number
        for number in range(encoding.n_vocab - 1)
    )


def _byte_symbols() -> dict[int, str]:
    """GPT-2's printable letter for every byte (Radford et al. 2019, encoder.py, bytes_to_unicode)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + place) for place, byte in enumerate(others)
    }


def _read(folder: Path) -> "tuple[tokenizers.Tokenizer, Path]":
    import tokenizers

    path = folder / TOKENIZER_FILE
    try:
        if path.is_file():
            return tokenizers.Tokenizer.from_file(str(path)), path
        path = folder / VOCABULARY_FILE
        if not (folder / MERGES_FILE).is_file():
            raise InputError(f"{folder} has {VOCABULARY_FILE}, but no {MERGES_FILE}; a tokenizer needs both")
        files = str(path), str(folder / MERGES_FILE)
        inner = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*files))
    except InputError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise InputError(f"{path} cannot be read as a tokenizer ({error}); {FIX}") from error
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    return inner, path
