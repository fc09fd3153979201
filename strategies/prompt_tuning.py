"""Strategy: learned embeddings before the text."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Range
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy


class ShiftedPositions(nn.Module):
    """Position embeddings of a text that stands behind ``shift`` others: (T,) -> (T, D)."""

    def __init__(self, embedding: nn.Embedding, shift: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.shift = shift

    def forward(self, positions: Tensor) -> Tensor:
        context, length = self.embedding.num_embeddings, positions.shape[-1]
        if length + self.shift > context:
            raise InputError(
                f"messages of {length} tokens behind a prompt of {self.shift} exceed the model's context of {context}; "
                f"shorten the messages with --max-length {context - self.shift}, or the prompt with "
                "prompt_tuning@tokens=N"
            )
        shifted: Tensor = self.embedding(positions + self.shift)
        return shifted


class PromptBefore(nn.Module):
    """The first block, fed with the prompt before the text: (B, T, D) -> (B, P + T, D)."""

    def __init__(self, block: nn.Module, prompt: Tensor, positions: nn.Embedding) -> None:
        super().__init__()
        self.block = block
        self.prompt = nn.Parameter(prompt)  # (P, D)
        self.positions = positions

    def forward(self, x: Tensor) -> Tensor:
        prompt = self.prompt + self.positions.weight[: len(self.prompt)]
        hidden: Tensor = self.block(torch.cat([prompt.expand(len(x), -1, -1), x], dim=1))
        return hidden


class PromptDropped(nn.Module):
    """The last block, whose output leaves out the prompt's positions: (B, P + T, D) -> (B, T, D)."""

    def __init__(self, block: nn.Module, tokens: int) -> None:
        super().__init__()
        self.block = block
        self.tokens = tokens

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.block(x)
        return hidden[:, self.tokens :]


@dataclass(frozen=True, kw_only=True)
class PromptTuning(Strategy):
    """Learned token embeddings before the text, and the head; the model itself stays as it is.

    They begin as the embeddings of random tokens of the vocabulary and take the first positions of the context.
    Parameters: tokens*D + D*C + C.
    At 124M: 16,898
    Learning rate: 3e-3; on the demo 9.5e-3 was the best of five from 3e-4 to 3e-2 (three seeds, one epoch:
      results/zoo).
    Reference: Lester et al. (2021), The Power of Scale for Parameter-Efficient Prompt Tuning, arXiv:2104.08691.
    When: the smallest file per task and one model for all of them; better the larger the model is.
    """

    family: ClassVar[str] = "prompts"
    starts_at_pretrained: ClassVar[bool] = False

    learning_rate: float = 3e-3
    tokens: Annotated[int, Range(1, below="context_length")] = 20

    def apply(self, model: GPTModel) -> None:
        chosen = torch.randint(model.config.vocab_size, (self.tokens,))
        prompt = model.tok_emb.weight.detach()[chosen].clone()
        blocks, positions = model.trf_blocks, model.pos_emb
        blocks[0] = PromptBefore(blocks[0], prompt, positions)
        blocks[-1] = PromptDropped(blocks[-1], self.tokens)
        model.pos_emb = ShiftedPositions(positions, self.tokens)  # type: ignore[assignment]

    def counts(self, config: GPTConfig, n_classes: int) -> Counts:
        return {0: self.tokens * config.emb_dim}
