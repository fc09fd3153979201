"""Presets: sets of flags under one name; one that is given on the command line overrides its one value."""

from typing import Any

from headtohead.core.errors import InputError
from headtohead.strategies import did_you_mean

_CHAPTER = {"epochs": 5, "batch_size": 8, "readout": "last"}
PRESETS: dict[str, dict[str, Any]] = {"book": _CHAPTER, "demo": _CHAPTER}
SUITES = ("bonus", "imdb")  # presets of several experiments each (experiments/bonus_rows.py)
# Learning rates that a preset gives strategies; the book's are far too small for so small a model as the demo's.
# Chosen on validation messages of both data sets while the demo model was made (core/demo/README.md).
PRESET_RATES: dict[str, dict[str, float]] = {
    "book": {},
    "demo": {"head": 5e-3, "last_block": 5e-4, "all_layers": 2e-4, "lora": 1e-3, "from_scratch": 2e-4},
}


def choose_preset(name: str) -> dict[str, Any]:
    """The values of a preset by name; InputError where there is none of that name."""
    if name in SUITES:
        return {}
    if name not in PRESETS:
        raise InputError(f"--preset {name}: no such preset; {did_you_mean(name, [*PRESETS, *SUITES])}")
    return PRESETS[name]
