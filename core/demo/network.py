"""The demo model while it is trained: a plain GPTModel over reduced rows, its first values, its perplexity."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headtohead.core.demo.embeddings import ppmi_svd
from headtohead.core.demo.load import demo_config
from headtohead.core.demo.material import Material
from headtohead.core.demo.objective import full_softmax
from headtohead.core.demo.vocabulary import END_OF_TEXT_ROW
from headtohead.core.demo.windows import NO_TARGET
from headtohead.core.model import GPTModel

POSITION_STD = 0.02


def new_model(rows: int, seed: int) -> GPTModel:
    """A GPTModel of the demo's shape over ``rows`` tokens that returns hidden states (B, T, D), not logits.

    The output head is tied to the token embeddings, so it has no values of its own. Linear layers keep torch's
    first values, which suit 128 dimensions better than GPT-2's 0.02; what blocks add starts smaller by the
    root of the number of additions, as in GPT-2.
    """
    torch.manual_seed(seed)
    config = demo_config(rows)
    model = GPTModel(config)
    model.register_module("out_head", nn.Identity())
    with torch.no_grad():
        model.pos_emb.weight.normal_(0.0, POSITION_STD)
        for name, parameter in model.named_parameters():
            if name.endswith(("out_proj.weight", "ff.layers.2.weight")):
                parameter.div_(math.sqrt(2 * config.n_layers))
            if name.endswith(".bias"):
                parameter.zero_()
    return model


def start_embeddings(model: GPTModel, material: Material, seed: int) -> None:
    """Fill the token embeddings from the messages as written."""
    starts = material.pieces.starts[: material.plain_messages + 1]
    rows = material.pieces.rows[: starts[-1]]
    values = ppmi_svd(rows, starts, len(material.vocabulary), model.config.emb_dim, seed)
    with torch.no_grad():
        model.tok_emb.weight.copy_(torch.from_numpy(values))


def _padded(messages: list[NDArray[np.int32]]) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, T); what stands behind a message is not judged."""
    length = max(map(len, messages)) - 1
    inputs = np.full((len(messages), length), END_OF_TEXT_ROW, dtype=np.int64)
    targets = np.full_like(inputs, NO_TARGET)
    for row, message in enumerate(messages):
        inputs[row, : len(message) - 1] = message[:-1]
        targets[row, : len(message) - 1] = message[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def mean_loss(model: GPTModel, messages: list[NDArray[np.int32]]) -> float:
    """Exact loss in nats per token over messages, the end of text included and the first token not."""
    losses = []
    ordered = sorted(messages, key=len)
    with torch.inference_mode():
        for start in range(0, len(ordered), 64):
            inputs, targets = _padded(ordered[start : start + 64])
            hidden = model(inputs)[targets != NO_TARGET]
            losses.append(full_softmax(hidden, model.tok_emb.weight, targets[targets != NO_TARGET]))
    return float(torch.cat(losses).double().mean())


def unigram_loss(counts: NDArray[np.int64], messages: list[NDArray[np.int32]]) -> float:
    """What predicting every token by its frequency in training alone would cost, on the same tokens."""
    log_probability = np.log((counts + 1.0) / (counts + 1.0).sum())
    return -float(np.mean(np.concatenate([log_probability[message[1:]] for message in messages])))


def perplexities(losses: dict[str, float], shares: dict[str, float]) -> dict[str, float]:
    """Perplexity of each source, and of "all": the mean loss weighted by the sources' shares of training."""
    mean = sum(shares[name] * loss for name, loss in losses.items())
    return {"all": math.exp(mean)} | {name: math.exp(loss) for name, loss in losses.items()}
