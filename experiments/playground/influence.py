"""How much each token of a message speaks for a classifier's answer: gradient times input.

The number is the derivative of the answer's logit less those of the other classes (their log-sum-exp) by a token's
embedding, times that embedding: to first order what the token adds. It explains the model, not the message.
Source: Shrikumar et al. 2016, Not Just a Black Box (arXiv:1605.01713).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from headtohead.core.classifier import Classifier
from headtohead.core.readout import Readout
from headtohead.core.tokens import encode_texts

BROKEN = "�"  # what decoding gives for a part of a character


@dataclass(frozen=True)
class Piece:
    """A token of the message, or several that only together are text; positive speaks for the answer."""

    text: str
    influence: float


def influences(classifier: Classifier, text: str) -> list[Piece]:
    """The pieces of ``text`` that the classifier reads, and last, as one, the padding behind them if there is any."""
    token_ids, last_position = encode_texts([text], classifier.info.max_length, classifier.tokenizer)
    values = _gradient_times_input(classifier, token_ids, last_position)
    count = min(len(classifier.tokenizer.encode(text)), classifier.info.max_length)
    pieces = _pieces(classifier, token_ids[0, :count].tolist(), values[:count].tolist())
    if count < len(values):
        pieces.append(Piece("(padding)", float(values[count:].sum())))
    return pieces


def _gradient_times_input(classifier: Classifier, token_ids: Tensor, last_position: Tensor) -> Tensor:
    """(T,) of one message; token_ids (1, T), last_position (1,)."""
    embedded: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_(True))
        return embedded[-1]

    positions = Readout(classifier.info.readout).positions(last_position, classifier.info.max_length)
    model, device = classifier.model, classifier.device
    handle = model.tok_emb.register_forward_hook(keep)
    try:
        with torch.enable_grad():
            where = None if positions is None else positions.to(device)
            logits = model.class_logits(token_ids.to(device), where)[0]
            best = int(logits.argmax())
            others = torch.cat([logits[:best], logits[best + 1 :]])
            (gradient,) = torch.autograd.grad(logits[best] - others.logsumexp(dim=0), embedded[0])
    finally:
        handle.remove()
    return (gradient * embedded[0].detach()).sum(dim=-1)[0].cpu()


def _pieces(classifier: Classifier, token_ids: list[int], values: list[float]) -> list[Piece]:
    """Tokens as text; those that are parts of one character are put together."""
    pieces: list[Piece] = []
    waiting: list[int] = []
    total = 0.0
    for place, (token, value) in enumerate(zip(token_ids, values, strict=True)):
        waiting.append(token)
        total += value
        text = classifier.tokenizer.decode(waiting)
        if BROKEN in text and len(waiting) < 4 and place + 1 < len(token_ids):
            continue
        pieces.append(Piece(text, total))
        waiting, total = [], 0.0
    return pieces
