"""The stages behind the cut, for one batch of each of several runs, every run with tensors of its own.

Products with stacked parameters (S, ...) become batched ones under ``torch.func.vmap``; what the runs have in
common has no dimension of runs. All batches need one shape there, so they are padded to the longest sequence of
all: where lengths differ attention is causal, so a token behind a sequence's end changes nothing before it, and
nobody reads it.
Shapes: S runs, B rows, T the longest sequence, D dims, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from headtohead.core.engine.block import EngineBlock, transformer_blocks
from headtohead.core.engine.fit import TrainingRun
from headtohead.core.engine.sequences import Layout, Sequences
from headtohead.core.readout import Readout


@dataclass(frozen=True)
class Rectangle(Layout):
    """A batch padded to one length, whose padding is computed as tokens are (``slots`` is None)."""

    behind: Tensor | None = None  # (B, T) True behind a sequence's end; None where all are equally long

    def ended(self) -> Tensor | None:
        """(B, T) True where a sequence has already ended."""
        return self.behind


class Tail(nn.Module):
    """The stages of a run's model behind the cut, as a module whose tensors others can stand in for."""

    def __init__(self, run: TrainingRun, readout: Readout) -> None:
        super().__init__()
        self.run = run
        self.pools = readout.pools
        blocks = transformer_blocks(run.model)
        self.blocks = nn.ModuleList(blocks[run.plan.cut - 1 :])
        self.norm = run.model.final_norm if run.plan.cut <= len(blocks) + 1 else nn.Identity()
        self.head = run.model.out_head

    def forward(self, hidden: Tensor, read: Tensor, behind: Tensor | None) -> Tensor:
        """Hidden states at the cut -> class logits (B, C).

        Args:
            hidden: (B, T, D), or (B, D) where the cut leaves one token of each message.
            read: (B,) where among B*T tokens the one of each sequence is that is read.
            behind: (B, T) True behind a sequence's end; None where all are equally long.
        """
        at = self.norm(self._through_blocks(hidden, read, behind) if len(self.blocks) else hidden)
        logits: Tensor = self.head(at.mean(dim=1) if at.dim() == 3 else at)
        return logits

    def _through_blocks(self, hidden: Tensor, read: Tensor, behind: Tensor | None) -> Tensor:
        """Hidden states behind the last block, of the token that is read (B, D), or of all to be pooled (B, T, D)."""
        plan = self.run.plan
        layout = Rectangle(hidden.shape[0], hidden.shape[1], None, read, read, behind)
        *blocks, block = self._engine_blocks()
        x = hidden.flatten(0, 1)
        for each in blocks:
            x = each.all_tokens(x, layout)
        if not plan.last_position:
            x = block.all_tokens(x, layout)
            return layout.pad(x) if self.pools else x[read]
        if plan.merged:
            # Asked for at every call: only during it are the declared factors those that stand in.
            block.updates = self.run.strategy.low_rank(self.run.model)
        return block.last_token(layout.pad(block.normalize(x)), x[read], layout.ended())

    def _engine_blocks(self) -> list[EngineBlock]:
        """Blocks that keep nothing from one call to the next, and call inserted layers as they are."""
        associative = self.run.plan.associative
        return [
            EngineBlock(block, {}, frozen=False, associative=associative)
            for block in transformer_blocks(self.run.model)[self.run.plan.cut - 1 :]
        ]


def logits_of_all(
    tail: Tail, tensors: Mapping[str, Tensor], sequences: Sequences, numbers: Tensor, device: str
) -> Tensor:
    """The class logits of S runs at once.

    Args:
        tail: of any of them; gives what all have in common.
        tensors: by their names in ``tail``, those that a run has for itself, stacked (S, ...).
        sequences: the data set's distinct sequences.
        numbers: (S, B) the sequences of each run's batch, on the CPU.
        device: that of the model.

    Returns:
        (S, B, C).
    """
    inputs = _inputs(tail, sequences, numbers, device)

    def one(own: dict[str, Tensor], *batch: Tensor | None) -> Tensor:
        logits: Tensor = torch.func.functional_call(tail, own, batch)
        return logits

    dims = (0, *(None if each is None else 0 for each in inputs))
    # The plain formula of attention: not every kernel of torch can be batched once more, on the CPU none.
    with sdpa_kernel(SDPBackend.MATH):
        logits: Tensor = torch.func.vmap(one, in_dims=dims)(dict(tensors), *inputs)
    return logits


def _inputs(
    tail: Tail, sequences: Sequences, numbers: Tensor, device: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """What :meth:`Tail.forward` takes, for each run: hidden states (S, ...), read (S, B) and behind (S, B, T)."""
    stored = tail.run.stored
    assert stored is not None
    lengths = sequences.lengths[numbers]  # (S, B)
    longest = int(lengths.max())
    within = torch.arange(longest)
    inside = lengths - 1 if sequences.read is None else sequences.read[numbers]
    read = torch.arange(numbers.shape[1]) * longest + inside
    behind = None
    if not len(tail.blocks) and len(stored.hidden) == len(sequences):
        rows = numbers
    else:
        # Behind its end a sequence's last token is repeated: any finite numbers would do.
        rows = sequences.offsets[numbers][..., None] + torch.minimum(within, lengths[..., None] - 1)
        if sequences.equal_length is None:
            behind = (within >= lengths[..., None]).to(device, non_blocking=True)
    hidden = stored.take(rows).to(device)
    return hidden, read.to(device, non_blocking=True), behind
