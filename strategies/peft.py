"""Strategy: any tuner type of the installed PEFT, by its name.

    python -m strategies.peft        # which types can be used here, tried one by one

The type's own settings are given as ``options``, joined by slashes: ``peft@type=HIRA+options=r=8/hira_dropout=0.1``.
"""

import ast
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import gcd
from typing import TYPE_CHECKING, Any

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Rank, Share, check_value
from headtohead.core.model import GPTModel
from headtohead.strategies import did_you_mean
from headtohead.strategies._peft import PeftStrategy, insert_adapter, target_names

if TYPE_CHECKING:
    from peft import PeftConfig

# What is said of types that failed when they were tried; any other failure is told in PEFT's words.
_INSTEAD = "; the strategy {} does this on a GPTModel"
_REASONS = {
    "ADALORA": "its budget of ranks must be updated after every step" + _INSTEAD.format("adalora"),
    "ADAPTION_PROMPT": "it rewrites the attention of LLaMA-like transformers models",
    "CARTRIDGE": "it trains past keys and values, and a GPTModel has no such input",
    "CPT": "it puts learned vectors before the text for a causal language model's loss, and replaces no layer",
    "MULTITASK_PROMPT_TUNING": "it puts learned vectors before the text, and replaces no layer",
    "POLY": "it needs the number of a task with every message",
    "PREFIX_TUNING": "it trains past keys and values, and a GPTModel has no such input"
    + _INSTEAD.format("prefix_tuning"),
    "PROMPT_TUNING": "it puts learned vectors before the text, and replaces no layer"
    + _INSTEAD.format("prompt_tuning"),
    "P_TUNING": "it puts learned vectors before the text, and replaces no layer",
    "SHADOW": "it runs a second network beside a transformers model",
    "XLORA": "it mixes LoRA adapters that were trained before, in a transformers model",
}


@dataclass(frozen=True, kw_only=True)
class Peft(PeftStrategy):
    """The adapters of any tuner type of PEFT on the linear layers of the blocks, and the head.

    Parameters: as the type has it (HIRA: L*r*18*D + D*C + C with r = 32).
    At 124M: 5,309,954
    Learning rate: 1e-3, a middle value: set the one that the type's paper gives; on the demo 1e-2 was the
      best of five from 1e-4 to 1e-2, the edge (three seeds, one epoch: results/zoo).
    Reference: Mangrulkar et al. (2022), PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods; HIRA: Huang
      et al. (2025), HiRA: Parameter-Efficient Hadamard High-Rank Adaptation, ICLR.
    When: a method of PEFT has no file of its own here; python -m strategies.peft lists the types. Of those, UNILORA
      and VBLORA begin near the pretrained model, not at it, and LILY cannot be merged.
    """

    learning_rate: float = 1e-3
    type: str = "HIRA"
    options: tuple[str, ...] = ()

    def check(self, config: GPTConfig) -> None:
        """Try it on a model of that width with no more blocks than needed."""
        super().check(config)
        blocks = max(self.layers, default=0) + 1
        self.apply(GPTModel(replace(config, vocab_size=64, n_layers=blocks)).requires_grad_(False))

    def config(self, model: GPTModel, target_modules: list[str]) -> "PeftConfig":
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

        known = {kind.value: config_class for kind, config_class in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
        if self.type not in known:
            raise InputError(f"peft@type={self.type}: no such tuner type; {did_you_mean(self.type, known)}")
        config_class = known[self.type]
        allowed = {field.name for field in fields(config_class)}
        given = dict(_option(text, allowed, model.config) for text in self.options)
        targets = {"target_modules": target_modules} if "target_modules" in allowed else {}
        return config_class(**(targets | _needed(self.type, model.config, target_modules) | given))

    def apply(self, model: GPTModel) -> None:
        """Insert the type's layers and try them on one token.

        Raises:
            InputError: the type cannot be used on a plain GPTModel, or not with these options.
        """
        import torch

        try:
            insert_adapter(model, self.config(model, target_names(model, self.targets, self.layers)))
            with torch.no_grad():
                model(torch.zeros(1, 1, dtype=torch.long))
        except InputError:
            raise
        except (ArithmeticError, AttributeError, LookupError, NotImplementedError, RuntimeError) as error:
            raise self._refusal(error) from error
        except (TypeError, ValueError) as error:
            raise self._refusal(error) from error
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise self._refusal("it left nothing to train")

    def _refusal(self, error: Exception | str) -> InputError:
        return InputError(f"peft@type={self.type} cannot be used: {_REASONS.get(self.type, error)}")


def _option(text: str, allowed: set[str], config: GPTConfig) -> tuple[str, Any]:
    """``"r=8"`` -> ``("r", 8)``."""
    name, equals, value = text.partition("=")
    if not equals or name not in allowed:
        raise InputError(f"peft option {text!r}: not NAME=VALUE of this type; {did_you_mean(name, allowed)}")
    try:
        parsed = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        parsed = value
    if name == "r":
        check_value(parsed, Rank, f"peft option {name}", config)
    elif "dropout" in name:
        check_value(parsed, Share, f"peft option {name}")
    return name, parsed


def _needed(kind: str, config: GPTConfig, target_modules: list[str]) -> dict[str, Any]:
    """Settings without which a type does not fit this model, does not start at it, or cannot be rebuilt from disk."""
    width = config.emb_dim
    norms = ["norm1", "norm2", "final_norm"]
    needed: dict[str, dict[str, Any]] = {
        "C3A": {"block_size": gcd(width, 256), "init_weights": True},
        "FOURIERFT": {"init_weights": True},
        "IA3": {"feedforward_modules": [name for name in target_modules if name.endswith("layers.2")]},
        "LN_TUNING": {"target_modules": norms},
        "ROAD": {"group_size": gcd(width, 64)},
        "SHIRA": {"random_seed": 0},
        "TRAINABLE_TOKENS": {"target_modules": ["tok_emb"], "token_indices": [config.vocab_size - 1]},
        "VBLORA": {"vector_length": gcd(width, 256)},
    }
    return needed.get(kind, {})


def try_all() -> Iterator[tuple[str, int | None, str]]:
    """Try every tuner type on a tiny GPTModel: its name, the trained parameters or None, and why not."""
    import torch
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    config = GPTConfig(vocab_size=64, context_length=8, emb_dim=64, n_layers=2, n_heads=4)
    for kind in sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING):
        torch.manual_seed(0)
        model = GPTModel(config).requires_grad_(False)
        try:
            Peft(type=kind).apply(model)
        except InputError as error:
            yield kind, None, str(error).partition("cannot be used: ")[2] or str(error)
            continue
        yield kind, sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad), ""


def main() -> int:
    """Print which tuner types can be used, which not and why, and how many of each."""
    from importlib.metadata import version

    warnings.simplefilter("ignore")
    rows = list(try_all())
    for kind, parameters, reason in rows:
        said = f"refused   {reason}" if parameters is None else f"accepted  {parameters:>7,} trained"
        print(f"{kind:<24} {said}")
    accepted = sum(parameters is not None for _, parameters, _ in rows)
    print(
        f"\nPEFT {version('peft')}, tried on a tiny GPTModel: {accepted} types accepted, {len(rows) - accepted} refused"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
