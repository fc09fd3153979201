"""What finetuning has cost the language model: its loss on a plain text, with the head that it was pretrained with.

The text is this project's own, written for this purpose, so that no model has been trained on it. The loss says
something only of weights that were pretrained: random ones predict no text.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.classifier import trained_names
from headtohead.core.engine.options import WHOLE
from headtohead.core.model import GPTModel
from headtohead.core.tokenizer import GPT2, Tokenizer

if TYPE_CHECKING:
    from headtohead.core.engine.engine import Engine
    from headtohead.core.engine.fit import TrainingRun

TOKENS = 128  # at most, of the text; as many as a small model's context holds
TEXT = """\
The old bridge at the edge of the town was closed on a Monday in spring. Nobody had expected it. For more than a
hundred years farmers had carried apples, wool and milk across the river, and children had thrown sticks from one side
to see them come out at the other. Now a wooden fence stood in the way, and a notice said that the stones were no longer
safe. The baker read it twice, shook his head, and walked the long way round through the meadows. By the end of the
week a path had appeared there, narrow and muddy, and people began to greet each other on it who had never spoken
before. When the bridge was opened again in the autumn, most of them kept to the path.
"""


def plain_tokens(length: int, tokenizer: Tokenizer = GPT2) -> Tensor:
    """The beginning of the text as token ids (W, T): W windows of at most ``length`` tokens, TOKENS in all."""
    tokens = tokenizer.encode(" ".join(TEXT.split()))[:TOKENS]
    width = min(length, TOKENS)
    return torch.tensor(tokens[: len(tokens) // width * width]).view(-1, width)


@torch.no_grad()
def language_loss(model: GPTModel, head: Tensor, token_ids: Tensor) -> float | None:
    """Mean cross-entropy in nats of every next token of token_ids (W, T), with the output head ``head`` (V, D).

    None where the model is no language model of this text: its vocabulary lacks a token, or its final norm is not asked
    once for every position. The model is left as it was; it must be in evaluation mode.
    """
    if int(token_ids.max()) >= len(head):
        return None
    seen: list[Tensor] = []
    hook = model.final_norm.register_forward_hook(lambda module, inputs, hidden: seen.append(hidden))
    try:
        model.class_logits(token_ids, torch.zeros(len(token_ids), dtype=torch.long, device=token_ids.device))
    finally:
        hook.remove()
    if not seen or seen[-1].shape[:2] != token_ids.shape:
        return None
    hidden = seen[-1][:, :-1].float()  # (W, T - 1, D)
    logits = F.linear(hidden, head.to(hidden))  # (W, T - 1, V)
    return float(F.cross_entropy(logits.flatten(0, 1), token_ids[:, 1:].flatten()))


def forgetting(engine: "Engine", run: "TrainingRun") -> tuple[float | None, float | None]:
    """The language model's loss before and after; the same where nothing but the head has changed.

    Unknown where the protocol is not that of a language model: attention that is not causal sees the next token.
    """
    if engine.dataset.max_length < 2 or not engine.config.causal or not engine.part.test:
        return None, None
    changed = run.untrained or any(not name.startswith("out_head.") for name in trained_names(run.model))
    with engine.drawing:
        whole = engine.of(WHOLE)  # the same for every part
        before = whole.language_loss
        if before is not None and not changed:
            return before, before
        token_ids = plain_tokens(engine.dataset.max_length, engine.pretrained.tokenizer or GPT2)
        pretrained = engine.pretrained.build()
        head = pretrained.out_head.weight
        if before is None:
            before = whole.language_loss = language_loss(pretrained, head, token_ids)
        after = language_loss(run.model, head, token_ids.to(engine.options.device)) if changed else before
        return before, after
