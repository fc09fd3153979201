"""A baseline runs through the engine as a strategy does: the same splits, its row, and no classifier."""

from pathlib import Path

import pytest

from headtohead import strategies
from headtohead.core.engine import Engine
from headtohead.core.training import TrainConfig
from tests import small


@pytest.mark.parametrize(
    ("name", "cut"),
    [("majority", 0), ("tfidf_logreg", 0), ("linear_probe", small.CONFIG.n_layers + 2)],
)
def test_baseline_runs_through_fit(name: str, cut: int, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants([name])
    engine = Engine(small.pretrained(), small.dataset(), TrainConfig())
    assert engine.inspect(variant).cut == cut
    outcome = engine.fit(variant, 123, tmp_path / "classifier")
    for split in ("train", "validation", "test"):
        labels = getattr(small.dataset(), split).labels
        evaluation = getattr(outcome, split)
        assert evaluation.labels.equal(labels) and evaluation.logits.shape == (len(labels), 2)
    share = max(outcome.train.labels.float().mean(), 1 - outcome.train.labels.float().mean())
    assert outcome.train.accuracy >= float(share) - 1e-6  # none is worse than naming the majority class
    assert outcome.classifier_bytes is None and not (tmp_path / "classifier").exists()
    assert (outcome.prefix_seconds is None) == (cut == 0)
