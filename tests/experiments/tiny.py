"""A model and messages so small that a run takes a fraction of a second, and a plugin to run on them."""

from pathlib import Path

import pytest

from tests import small

# Twenty lines, as somebody outside the project would write them.
BIASES = '''\
"""Strategy: the bias terms alone."""

from dataclasses import dataclass
from typing import ClassVar

from headtohead.core.strategy import Strategy


@dataclass(frozen=True, kw_only=True)
class Biases(Strategy):
    """The bias terms of every linear layer, and the head.

    Reference: Ben Zaken et al. (2021), BitFit, arXiv:2106.10199.
    """

    family: ClassVar[str] = "selective"

    def apply(self, model):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith(".bias"))
'''

FAILS = '''\
from headtohead.core.strategy import Strategy


class Fails(Strategy):
    """Fails in its first step."""

    def apply(self, model):
        pass

    def after_step(self, model, step):
        raise RuntimeError("this strategy always fails")
'''


def use_tiny_demo(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make the demo model tiny and the cache empty, for this process."""
    small.use_tiny_demo(monkeypatch)
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(cache))


def write_messages(path: Path, rows_per_class: int = 20) -> Path:
    """A table of short messages in two classes that are easy to tell apart."""
    rows = [f"ham\tsee you at {number} then" for number in range(rows_per_class)]
    rows += [f"spam\tWIN {number} pounds NOW" for number in range(rows_per_class)]
    path.write_text("\n".join(["Label\tText", *rows]) + "\n", encoding="utf-8")
    return path


def write_plugin(folder: Path, name: str, text: str) -> Path:
    """A strategy file of that name; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path
