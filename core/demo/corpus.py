"""Public text as messages: read from files, cut into pieces of message length, varied in case, held out in part.

A *source* is one file; a *line* of it is an utterance, sentence or paragraph; a *piece* is what the model sees
as one message: a line, or a few consecutive sentences of a long one.
"""

import lzma
import random
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from headtohead.core.errors import InputError

# Pieces of a long line: at most so many words, drawn per line, because messages are short but not all alike.
LONGEST_WORDS = (10, 25, 50, 100)
HELD_OUT_ONE_IN = 100  # lines
SENTENCE_END = re.compile(r"(?<=[.!?…”\"])\s+(?=[“\"A-Z0-9])")
PUNCTUATION = re.compile(r"[^\w\s]")
ENDINGS = (".txt", ".txt.xz")


@dataclass(frozen=True)
class Source:
    """One file of text.

    ``plain`` and ``varied`` are the pieces to train on, as they stand and each in one other spelling, in the
    same order; ``held_out`` are pieces of lines that are in neither.
    """

    name: str
    characters: int
    plain: list[str]
    varied: list[str]
    held_out: list[str]


def read_sources(folder: Path, seed: int) -> list[Source]:
    """Every ``*.txt`` and ``*.txt.xz`` of a folder, by name.

    The same lines are held out whatever the seed; it draws the lengths of pieces and their spellings.

    Raises:
        InputError: no such folder, no such file in it, or a file that is damaged, no UTF-8, or too small.
    """
    if not folder.is_dir():
        raise InputError(
            f"--text {folder}: there is no such folder; give one that holds .txt or .txt.xz files"
        )
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(ENDINGS) and path.is_file())
    if not paths:
        raise InputError(f"--text {folder} holds no .txt or .txt.xz file; put the text to train on there")
    return [_source(path, seed) for path in paths]


def is_held_out(line: str) -> bool:
    """Whether a line is kept from training: a checksum of the line decides, so every run agrees."""
    return zlib.crc32(line.encode()) % HELD_OUT_ONE_IN == 0


def pieces(line: str, longest_words: int) -> list[str]:
    """Consecutive sentences of a line, as many together as ``longest_words`` allows; no sentence is cut."""
    found: list[str] = []
    words = 0
    for sentence in SENTENCE_END.split(line):
        length = len(sentence.split())
        if found and words + length <= longest_words:
            found[-1] += " " + sentence
            words += length
        else:
            found.append(sentence)
            words = length
    return found


def other_spelling(text: str, chance: random.Random) -> str:
    """The text as people also type it: lower case, without punctuation, in capitals, Each Word Capitalised."""
    draw = chance.random()
    if draw < 0.4:
        return text.lower()
    if draw < 0.7:
        return PUNCTUATION.sub("", text.lower())
    return text.upper() if draw < 0.85 else " ".join(word[:1].upper() + word[1:] for word in text.split())


def _source(path: Path, seed: int) -> Source:
    lines = [line for line in (raw.strip() for raw in _read(path).splitlines()) if line]
    kept = [line for line in lines if not is_held_out(line)]
    held_out = [line for line in lines if is_held_out(line)]
    if not kept or not held_out:
        raise InputError(
            f"{path} has {len(lines)} lines, of which {len(held_out)} would be held out; "
            f"give a text of some hundred lines or more (one in {HELD_OUT_ONE_IN} is held out)"
        )
    chance = random.Random(f"{seed} {path.name}")  # of a text: Python hashes it the same in every process
    plain = [piece for line in kept for piece in pieces(line, chance.choice(LONGEST_WORDS))]
    varied = [other_spelling(piece, chance) for piece in plain]
    validation = [piece for line in held_out for piece in pieces(line, LONGEST_WORDS[1])]
    return Source(path.name.partition(".")[0], sum(map(len, lines)), plain, varied, validation)


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
        if path.suffix == ".xz":
            content = lzma.decompress(content)
        return content.decode("utf-8")
    except (lzma.LZMAError, EOFError) as error:
        raise InputError(f"{path} is no xz file that can be read ({error}); copy it again") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start}); convert it to UTF-8") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
