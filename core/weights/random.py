"""Random weights of any shape, from a seed: GPT-2 before it was pretrained.

Source: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", section 2.3, and its code,
https://github.com/openai/gpt-2/blob/master/src/model.py: normal with standard deviation 0.02, smaller by
sqrt(2 * n_layers) where a block writes back into the residual stream; norms at one, biases at zero.
"""

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, RANDOM_PREFIX, GPTConfig
from headtohead.core.weights.pretrained import Pretrained, Tensors, Wanted, parameter_shapes, tensors_sha256

SEED = 123
SPREAD = 0.02
WRITES_BACK = ("out_proj.weight", "ff.layers.2.weight")


def contrast(wanted: Wanted, model: Pretrained | None) -> Pretrained:
    """The model that ``random:NAME`` asks for.

    Args:
        wanted: as it was asked for.
        model: the pretrained one whose shape and tokenizer are taken; None for the published size NAME, of which
            nothing but the shape is needed.
    """
    name = wanted.model.removeprefix(RANDOM_PREFIX) if wanted.model else DEFAULT_MODEL
    if model is None:
        return random_pretrained(RANDOM_PREFIX + name, CONFIGS[name], SEED, _source(name))
    found = random_pretrained(
        RANDOM_PREFIX + model.name, model.config, SEED, _source(model.name), is_demo=model.is_demo
    )
    return replace(found, weights_dir=model.weights_dir, tokenizer=model.tokenizer)


def _source(name: str) -> str:
    return f"random weights in the shape of {name}, drawn with seed {SEED} as GPT-2's were before pretraining"


def random_pretrained(
    name: str,
    config: GPTConfig,
    seed: int,
    source: str,
    *,
    is_demo: bool = False,
    spread: float | None = None,
) -> Pretrained:
    """Random weights as a source gives them; every ``build`` draws the same ones again.

    Args:
        name, source, is_demo: as in :class:`Pretrained`.
        config, seed, spread: as in :func:`random_tensors`.
    """
    read = partial(random_tensors, config, seed, spread)
    return Pretrained(name, config, tensors_sha256(read()), source, read, is_demo)


def random_tensors(config: GPTConfig, seed: int, spread: float | None = None) -> Tensors:
    """Named tensors of a model of that shape; torch's global generator is left alone.

    Args:
        config: the shape.
        seed: of a generator of its own.
        spread: None for GPT-2's initialisation. A number draws every tensor, biases and norms as well, with
            this standard deviation, so that each of them matters to what the model computes.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors: Tensors = {}
    for name, shape in parameter_shapes(config).items():
        tensor = torch.empty(shape, dtype=torch.float32, device="cpu")
        if spread is None:
            initialise(name, tensor, config.n_layers, generator)
        else:
            tensor.normal_(0.0, spread, generator=generator).add_(1.0 if name.endswith(".scale") else 0.0)
        tensors[name] = tensor
    return tensors


@torch.no_grad()
def initialise(name: str, tensor: Tensor, n_layers: int, generator: torch.Generator | None = None) -> None:
    """Fill one parameter as GPT-2's was before pretraining, in place; without a generator torch's global one draws."""
    if name.endswith(".scale"):
        tensor.fill_(1.0)
    elif name.endswith((".shift", ".bias")):
        tensor.zero_()
    else:
        std = SPREAD / math.sqrt(2 * n_layers) if name.endswith(WRITES_BACK) else SPREAD
        tensor.normal_(0.0, std, generator=generator)
