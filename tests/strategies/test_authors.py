"""An author's slips: a sentence with the file and the line, the same from the check and from the comparison."""

from pathlib import Path

import pytest

from headtohead.experiments import command_line
from headtohead.strategies.check.__main__ import main as check

SOUND = """\
from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class Mine(Strategy):
    '''The head.'''

    family: ClassVar[str] = "selective"
    learning_rate: float = 1e-3
    rank: int = 4

    def apply(self, model):
        pass
"""
# What is changed in the sound file -> the line that is named, and words of the sentence.
SLIPS = {
    "no decorator": (
        "@dataclass(frozen=True, kw_only=True)\n",
        "",
        7,
        "needs @dataclass(frozen=True, kw_only",
    ),
    "a plain decorator": (
        "(frozen=True, kw_only=True)",
        "",
        7,
        "write @dataclass(frozen=True, kw_only=True)",
    ),
    "no apply": (
        "def apply(self, model)",
        "def applied(self)",
        8,
        "class Mine has no method apply(self, model)",
    ),
    "bad syntax": ("rank: int = 4", "rank: int = = 4", 13, "this is no valid Python (invalid syntax)"),
    "a bad indent": ("        pass", "pass", 16, "no valid Python (expected an indented block"),
    "a missing module": (
        "from typing import",
        "import no_such_module\nfrom typing import",
        2,
        "No module named",
    ),
    "a missing name": ("import Strategy", "import Strategy, Tactic", 4, "cannot import name 'Tactic'"),
    "a bare import": (
        "from headtohead.core.strategy",
        "from core.strategy",
        4,
        "import headtohead.core.strategy",
    ),
    "another bare import": (
        "from typing",
        "import core.model\nfrom typing",
        2,
        "import headtohead.core.model",
    ),
    "no type": (
        "rank: int = 4",
        "rank = 4",
        13,
        "rank = 4 has no type, so it is no field; write rank: int = 4",
    ),
    "no type of an inherited field": (
        "learning_rate: float",
        "learning_rate",
        12,
        "write learning_rate: float",
    ),
    "no default": ("rank: int = 4", "rank: int", 13, "the field rank needs a default value"),
    "a type that no text can give": (
        "rank: int = 4",
        "rank: dict = None",
        13,
        "rank cannot be set from text",
    ),
    "an unknown type": ("rank: int = 4", "rank: 'Rank' = 4", 8, "the type of a field of Mine is unknown"),
    "a default of another type": ("rank: int = 4", "rank: int = '4'", 8, "mine.rank='4': a str, but"),
    "a default out of range": ("1e-3", "-1.0", 8, "mine.learning_rate=-1.0: must be at least 1e-12"),
    "two strategies": ("", SOUND.replace("Mine", "Other"), 8, "Mine in line 8, Other in line 24"),
    "none": ("(Strategy)", "", 0, "must define exactly one subclass"),
    "no text": ("The head.", "\udcff", 0, "not a text in UTF-8"),
}


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


def answers(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What the check and the comparison say of a file that neither accepts."""
    results = path.parent / "results"
    said = []
    for command in (
        lambda: check([str(path)]),
        lambda: command_line.main(["--plugin", str(path), "--results-dir", str(results), "--model", "demo"]),
    ):
        assert command() == command_line.EXIT_USAGE
        said.append(capsys.readouterr().err)
    assert not results.exists()
    return said[0], said[1]


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_one_sentence_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], slip: str
) -> None:
    old, new, line, words = SLIPS[slip]
    path = written(tmp_path, SOUND.replace(old, new, 1) if old else SOUND + new)
    checked, compared = answers(path, capsys)
    assert checked == compared
    assert checked.startswith(f"error: {path}" + (f", line {line}: " if line and old else ""))
    assert words in checked and checked.count("\n") == 1


@pytest.mark.parametrize("name", ["head.py", "my-strategy.py", "2nd.py", "mine.txt.py"])
def test_both_refuse_the_same_file_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    checked, compared = answers(written(tmp_path, SOUND, name), capsys)
    assert checked == compared and checked.count("\n") == 1


def test_a_real_exception_keeps_its_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, SOUND + "\n\ndef table():\n    return {}['a']\n\n\ntable()\n")
    for said in answers(path, capsys):
        assert "Traceback" in said and "return {}['a']" in said
        assert said.splitlines()[-1] == f"error: {path}, line 20: KeyError: 'a' (its traceback is above)"


def test_the_sound_file_is_accepted_by_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, SOUND)
    assert check([str(path), "--set", "mine.rank=0.5"]) == 2
    assert "mine.rank=0.5: not a whole number" in capsys.readouterr().err
    assert command_line.main(["--plugin", str(path), "--strategies", "mine@rank=x"]) == 2
    assert "mine.rank=x: not a whole number" in capsys.readouterr().err
