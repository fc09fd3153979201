"""Presets: sets of flags under one name; one that is given on the command line overrides its one value."""

from typing import Any

from headtohead.core.errors import InputError
from headtohead.strategies import did_you_mean

_CHAPTER = {"epochs": 5, "batch_size": 8, "readout": "last"}
PRESETS: dict[str, dict[str, Any]] = {"book": _CHAPTER, "demo": _CHAPTER}
SUITES = ("bonus", "imdb")  # presets of several experiments each (experiments/bonus_rows.py)
# Learning rates that a preset gives strategies; the book's are far too small for so small a model as the demo's.
# The first five were chosen on validation messages of both data sets while the demo model was made
# (core/demo/README.md), the others in a sweep of five rates, three seeds and one epoch each (results/zoo); those that
# are not named did best at their own.
PRESET_RATES: dict[str, dict[str, float]] = {
    "book": {},
    "demo": {
        "head": 5e-3, "last_block": 5e-4, "all_layers": 2e-4, "lora": 1e-3, "from_scratch": 2e-4,
        "attention": 5e-4, "bitfit": 9.5e-4, "boft": 3.2e-3, "bottleneck": 3.2e-3, "dora": 2.5e-3,
        "first_n_blocks": 5e-4, "gradual_unfreezing": 5e-4, "last_n_blocks": 1.6e-3,
        "layerwise_decay": 1e-3, "lokr": 9.5e-3, "lora_book": 2.5e-3, "lora_plus": 6.3e-4, "miss": 9.5e-4,
        "norms": 9.5e-3, "parallel_adapter": 3e-3, "perceptrons": 1.6e-3, "prefix_tuning": 3.2e-3,
        "prompt_tuning": 9.5e-3, "randlora": 9.5e-4, "road": 3.2e-2, "shira": 3.2e-3, "side_tuning": 9.5e-4,
        "vera": 3.2e-2,
    },
}  # fmt: skip


def choose_preset(name: str) -> dict[str, Any]:
    """The values of a preset by name; InputError where there is none of that name."""
    if name in SUITES:
        return {}
    if name not in PRESETS:
        raise InputError(f"--preset {name}: no such preset; {did_you_mean(name, [*PRESETS, *SUITES])}")
    return PRESETS[name]
