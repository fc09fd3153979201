"""How class logits of rows are computed: by the reference path, or as a plan says.

Both stand behind ``core.training.Forward``, and every plan gives the reference path's numbers.
Shapes: B rows, n tokens of them, D dims, C classes, U distinct sequences.
"""

import torch
from torch import Tensor

from headtohead.core.data import Dataset
from headtohead.core.engine.block import EngineBlock, transformer_blocks
from headtohead.core.engine.linear import Updates
from headtohead.core.engine.plan import Plan
from headtohead.core.engine.prefix import Stored
from headtohead.core.engine.products import MKL, Products
from headtohead.core.engine.recompute import Around
from headtohead.core.engine.sequences import Sequences
from headtohead.core.model import GPTModel
from headtohead.core.training import SPLITS, Forward, SplitName, TrainConfig


class ReferenceForward:
    """Class logits by ``model.class_logits`` on the padded batch, as the loaders batch it: the chapter's way."""

    evaluation_rows: int | None = None

    def __init__(self, model: GPTModel, dataset: Dataset, config: TrainConfig, device: str) -> None:
        self.model = model
        splits = {name: getattr(dataset, name) for name in SPLITS}
        self._token_ids = {name: split.token_ids.to(device) for name, split in splits.items()}
        self._labels = {name: split.labels.to(device) for name, split in splits.items()}
        reads = {
            name: config.readout.positions(split.last_position, dataset.max_length)
            for name, split in splits.items()
        }
        self._position = {name: at if at is None else at.to(device) for name, at in reads.items()}

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C)."""
        rows = rows.to(self._labels[split].device)
        position = self._position[split]
        return self.model.class_logits(
            self._token_ids[split][rows], None if position is None else position[rows]
        )

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> labels (B,)."""
        return self._labels[split][rows.to(self._labels[split].device)]

    def parameters_changed(self) -> None:
        """Nothing is derived from the parameters here."""


class PlannedForward:
    """Class logits as a plan says: hidden states of frozen stages read, the rest restructured.

    Args:
        model: the classifier, whose parameters are used where they are.
        sequences: the data set's distinct sequences.
        labels: per split, on the model's device.
        plan: what to do.
        stored: the hidden states at the plan's cut; None where the cut is 0.
        updates: declared low-rank updates of inserted layers.
        fixed: no parameter outside of those that train now will change.
        compiled: the blocks go through ``torch.compile``.
        recompute: the blocks are computed again in the backward pass instead of kept.
        products: which library computes matrix products in float32.
        half: the blocks multiply in bfloat16.
    """

    evaluation_rows: int | None = 64

    def __init__(
        self,
        model: GPTModel,
        sequences: Sequences,
        labels: dict[SplitName, Tensor],
        plan: Plan,
        stored: Stored | None,
        updates: Updates,
        *,
        fixed: bool,
        compiled: bool = False,
        recompute: bool = False,
        products: Products = MKL,
        half: bool = False,
    ) -> None:
        self.model = model
        self.sequences = sequences
        self.plan = plan
        self._device = str(next(model.parameters()).device)
        self._token_ids = sequences.token_ids.to(self._device)
        self._labels = labels
        self._stored = stored
        merged = updates if plan.merged else {}
        self._n_blocks = len(model.trf_blocks)
        self._pools = sequences.readout.pools
        self._blocks = (
            [
                EngineBlock(
                    block,
                    merged,
                    frozen=fixed and not any(parameter.requires_grad for parameter in block.parameters()),
                    associative=plan.associative,
                    products=products,
                    half=half,
                )
                for block in transformer_blocks(model)
            ]
            if plan.restructured
            else []
        )
        if compiled:
            for each in self._blocks:
                each.compile(self._device)
        if recompute:
            for each in self._blocks:
                each.recompute()
        self._known = torch.zeros(len(sequences), dtype=torch.bool)
        self._table: Tensor | None = None

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C)."""
        numbers = self.sequences.of_row[split][rows]
        return self._compute(numbers) if torch.is_grad_enabled() else self._look_up(numbers)

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> labels (B,)."""
        return self._labels[split][rows.to(self._labels[split].device)]

    def parameters_changed(self) -> None:
        """Drop merged weights and remembered logits."""
        for block in self._blocks:
            block.parameters_changed()
        self._known.zero_()

    def _look_up(self, numbers: Tensor) -> Tensor:
        """Evaluation computes each distinct sequence once between two steps."""
        missing = torch.unique(numbers)
        missing = missing[~self._known[missing]]
        if len(missing):
            logits = self._compute(missing)
            if self._table is None:
                self._table = logits.new_empty(len(self.sequences), logits.shape[-1])
            self._table[missing.to(self._device)] = logits
            self._known[missing] = True
        assert self._table is not None
        return self._table[numbers.to(self._device)]

    def _compute(self, numbers: Tensor) -> Tensor:
        """Sequence numbers (B,) -> class logits (B, C)."""
        cut, stored = self.plan.cut, self._stored
        if cut > self._n_blocks + self._pools:
            assert stored is not None
            at = self._take(stored, numbers)
        else:
            at = self._through_blocks(numbers)
        if cut <= self._n_blocks + 1:
            at = self.model.final_norm(at)
            at = at.mean(dim=1) if self._pools else at
        logits: Tensor = self.model.out_head(at)
        return logits

    def _through_blocks(self, numbers: Tensor) -> Tensor:
        """Hidden states behind the last block, of the token that is read (B, D), or of all to be pooled (B, T, D)."""
        layout = self.sequences.layout(numbers).to(self._device)
        rows, token_positions = self.sequences.token_rows(numbers)
        if self._stored is None:
            token_ids = self._token_ids[rows.to(self._device, non_blocking=True)]
            x = self.model.tok_emb(token_ids) + self.model.pos_emb(token_positions.to(self._device))
        else:
            x = self._take(self._stored, rows)
        first = max(self.plan.cut - 1, 0)
        if not self.plan.restructured:
            padded: Tensor = self.model.trf_blocks[first:](layout.pad(x))
            return padded if self._pools else layout.flatten(padded)[layout.read]
        blocks = self._blocks[first:]
        if self.plan.last_position:
            *blocks, last = blocks
        for block in blocks:
            x = block.all_tokens(x, layout)
        if self._pools:
            return layout.pad(x)
        if not self.plan.last_position:
            return x[layout.read]
        return last.last_token(layout.pad(last.normalize(x)), x[layout.read], layout.ended())

    def _take(self, stored: Stored, rows: Tensor) -> Tensor:
        """Rows of hidden states, which may lie on the CPU although the model does not, on the model's device."""
        return stored.take(rows).to(self._device)


class AutocastForward(Around):
    """Another forward's logits with products in bfloat16; parameters and optimizer stay in float32."""

    def __init__(self, inner: Forward, device: str) -> None:
        super().__init__(inner)
        self._device_type = device.partition(":")[0]

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C)."""
        with torch.autocast(self._device_type, dtype=torch.bfloat16):
            return self.inner.logits(split, rows).float()
