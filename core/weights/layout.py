"""How GPT-2's checkpoints lay out their values: OpenAI's and transformers' alike.

A linear layer's weight is stored as (in, out), the transpose of torch's, and queries, keys and values lie side by
side in one array.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from headtohead.core.weights.pretrained import Tensors

AS_IS, TRANSPOSED = "as is", "transposed"
Layout = tuple[str, tuple[str, ...]]  # AS_IS or TRANSPOSED, and the parameters that a stored array fills


def join_parameters(parameters: Sequence[Tensor], layout: str) -> Tensor:
    """The stored array that fills these parameters, without a leading 1: the reverse of :func:`split_stored`."""
    parts = [each.T if layout == TRANSPOSED else each for each in parameters]
    return torch.cat(parts, dim=-1)


def split_stored(stored: Tensor, layout: str, parameters: tuple[str, ...]) -> Tensors:
    """One stored array as the parameters it fills: (1, in, n * out) -> n x (out, in), or (n * D,) -> n x (D,)."""
    if layout == TRANSPOSED:
        stored = stored.reshape(stored.shape[-2:])
    parts = stored.chunk(len(parameters), dim=-1)
    # Copies of their own: safetensors refuses to write views that share memory.
    return {
        name: part.T.contiguous() if layout == TRANSPOSED else part.clone()
        for name, part in zip(parameters, parts, strict=True)
    }
