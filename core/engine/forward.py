"""The reference path: every message through the whole model, exactly as the chapter computes it."""

from torch import Tensor

from core.data import Dataset
from core.model import GPTModel
from core.training import SPLITS, SplitName, TrainConfig


class ReferenceForward:
    """Class logits by ``model.class_logits`` on the padded batch, as the loaders batch it."""

    evaluation_rows: int | None = None

    def __init__(self, model: GPTModel, dataset: Dataset, config: TrainConfig, device: str) -> None:
        self.model = model
        splits = {name: getattr(dataset, name) for name in SPLITS}
        self._token_ids = {name: split.token_ids.to(device) for name, split in splits.items()}
        self._labels = {name: split.labels.to(device) for name, split in splits.items()}
        self._position = {
            name: positions(split.last_position, dataset.max_length, config).to(device)
            for name, split in splits.items()
        }

    def logits(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> class logits (B, C)."""
        rows = rows.to(self._labels[split].device)
        return self.model.class_logits(self._token_ids[split][rows], self._position[split][rows])

    def labels(self, split: SplitName, rows: Tensor) -> Tensor:
        """Row numbers (B,) -> labels (B,)."""
        return self._labels[split][rows.to(self._labels[split].device)]

    def parameters_changed(self) -> None:
        """Nothing is derived from the parameters here."""


def positions(last_position: Tensor, max_length: int, config: TrainConfig) -> Tensor:
    """Where the class is read: the last of ``max_length`` positions, or each message's last real token."""
    return last_position.new_full(last_position.shape, max_length - 1) if config.position == "last" else last_position
