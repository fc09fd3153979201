"""The language model's loss on a plain text: what it is, and when it changes."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from headtohead.core.engine import Engine
from headtohead.core.engine.forgetting import TOKENS, language_loss, plain_tokens
from headtohead.core.training import TrainConfig
from headtohead.strategies import build_variants
from tests import small


def test_it_is_the_mean_cross_entropy_of_the_next_token() -> None:
    model = small.random_model()
    tokens = plain_tokens(24)
    assert tokens.shape == (TOKENS // 24, 24)
    with torch.no_grad():
        logits = model(tokens)[:, :-1]
    expected = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    head = model.out_head.weight
    model.out_head = torch.nn.Linear(model.config.emb_dim, 2)
    assert language_loss(model, head, tokens) == pytest.approx(float(expected), abs=1e-5)
    assert not model.final_norm._forward_hooks


@pytest.mark.parametrize(
    ("label", "changes"), [("head", False), ("last_block", True), ("prompt_tuning", True)]
)
def test_what_leaves_the_model_as_it_was_forgets_nothing(label: str, changes: bool, tmp_path: Path) -> None:
    engine = Engine(small.pretrained(), small.dataset(), TrainConfig(epochs=1))
    (variant,) = build_variants([label], [f"{label}.learning_rate=0.01"])
    outcome = engine.fit(variant, 1, tmp_path / label)
    before, after = outcome.language_loss_before, outcome.language_loss_after
    assert before is not None and after is not None
    assert (abs(after - before) > 1e-4) == changes
