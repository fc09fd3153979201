"""The rows of the benchmark, and whether what they need is installed."""

from importlib.util import find_spec

from headtohead.core.errors import InputError
from headtohead.experiments.benchmark import ours, peers
from headtohead.experiments.benchmark.contender import Contender
from headtohead.strategies import did_you_mean

BOOK = {"llms-from-scratch": "llms_from_scratch"}
TRANSFORMERS = {"transformers": "transformers", "peft": "peft"}
INSTALL = {"llms-from-scratch": "pip install --no-deps llms-from-scratch"}
ALL = [
    Contender("ours", "headtohead", "last", ours.start),
    Contender("ours_reference", "headtohead --reference", "last", ours.start_reference),
    Contender("book", "the book's GPTModel", "last", peers.start_book, BOOK),
    Contender("book_fast", "the book's GPTModelFast", "last", peers.start_book_fast, BOOK),
    Contender("transformers", "transformers + peft", "last", peers.start_transformers, TRANSFORMERS),
    Contender("ours_last_real", "headtohead --position last_real", "last_real", ours.start),
    Contender(
        "transformers_dynamic",
        "transformers + peft, dynamic padding",
        "last_real",
        peers.start_transformers_dynamic,
        TRANSFORMERS,
    ),
    Contender(
        "book_last_real",
        "the book's GPTModel at the last real token",
        "last_real",
        peers.start_book,
        BOOK,
        timed=False,
    ),
]
BY_NAME = {contender.name: contender for contender in ALL}
# Whose losses and whose time the others' are held against, per protocol; the first that is there.
LOSS_OF = {"last": ("book", "ours_reference"), "last_real": ("book_last_real", "transformers_dynamic")}
TIME_OF = ("book", "ours_reference")


def choose(names: str | None) -> list[Contender]:
    """``"ours,book"`` -> these, or all.

    Raises:
        InputError: an unknown name.
    """
    if names is None:
        return list(ALL)
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in BY_NAME:
            raise InputError(f"--contenders: unknown contender {name!r}; {did_you_mean(name, BY_NAME)}")
    return [contender for contender in ALL if contender.name in wanted]


def missing(contender: Contender) -> str | None:
    """What has to be installed for a contender, as a sentence; None where it can run."""
    absent = [name for name, module in contender.packages.items() if find_spec(module) is None]
    if not absent:
        return None
    commands = " && ".join(INSTALL.get(name, f"pip install {name}") for name in absent)
    return f"{', '.join(absent)} not installed: {commands}"
