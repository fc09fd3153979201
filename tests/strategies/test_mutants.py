"""Strategies with one fault each, which look sound from outside: the check finds every one, and says what it saw."""

from pathlib import Path

import pytest

from headtohead.strategies import build_variants
from headtohead.strategies.check.checks import CHECKS
from headtohead.strategies.check.report import bench_and_checks, run_check

SOUND = '''
from dataclasses import dataclass
import torch
from torch import nn
from headtohead.core.strategy import Strategy, unfreeze

class Adapter(nn.Module):
    """y + scale * up(dropout(down(y))), y what the block gives."""
    def __init__(self, block, number, p):
        super().__init__()
        self.block, self.number, self.calls = block, number, 0
        width = block.norm1.scale.numel()
        self.down, self.up = nn.Linear(width, 4, bias=False), nn.Linear(4, width, bias=False)
        self.dropout = nn.Dropout(p)
        nn.init.zeros_(self.up.weight)
    def forward(self, x):
        y = self.block(x)
        return y + self.up(self.dropout(self.down(y)))

@dataclass(frozen=True, kw_only=True)
class Mutant(Strategy):
    """A small adapter behind every block, and the head.

    At 124M: 75,266
    """
    learning_rate: float = 1e-3
    dropout: float = 0.0
    def apply(self, model):
        for number, block in enumerate(model.trf_blocks):
            model.trf_blocks[number] = Adapter(block, number, self.dropout)
    def counts(self, config, n_classes):
        return dict.fromkeys(range(config.n_layers), 8 * config.emb_dim)
'''
APPLY = "        for number, block in enumerate(model.trf_blocks):\n"
# The check that finds it, what is changed (old, new; or new lines at the end), words of the finding.
MUTANTS = {
    "a fixed seed": (
        "every seed is its own",
        APPLY,
        "        torch.manual_seed(0)\n" + APPLY,
        "it sets a fixed seed",
    ),
    "a generator of its own": (
        "every seed is its own",
        "        nn.init.zeros_(self.up.weight)\n",
        "        nn.init.zeros_(self.up.weight)\n"
        "        self.down.weight.data.normal_(generator=torch.Generator().manual_seed(0))\n",
        "looks drawn, and is the same under every seed",
    ),
    "a seed in training": (
        "every seed is its own",
        "",
        "    def before_training(self, model, epochs, steps_per_epoch):\n        torch.manual_seed(0)\n",
        "a seed is fixed",
    ),
    "no effect": (
        "has an effect",
        "self.up(self",
        "1e-9 * self.up(self",
        "block 0 hardly changes the logits",
    ),
    "no effect in one block": (
        "has an effect",
        "self.up(self",
        "(1e-9 if self.number == 2 else 1.0) * self.up(self",
        "block 2 hardly changes the logits",
    ),
    "its input detached": (
        "gradients are complete",
        "self.down(y)",
        "self.down(y.detach())",
        "is not the slope of the loss",
    ),
    "the block's output detached": (
        "moves all that it declares",
        "return y +",
        "return y.detach() +",
        "did not move",
    ),
    "a block's output detached": (
        "gradients are complete",
        "return y +",
        "return (y.detach() if self.number == 3 else y) +",
        "the gradient of what is trained in block 0 is not the slope",
    ),
    "a dropout that is never active": (
        "draws only as declared",
        "self.dropout(self.down(y))",
        "self.down(y)",
        "a dropout is declared (dropout) and never active",
    ),
    "a dropout that is always active": (
        "draws only as declared",
        "self.dropout(self.down(y))",
        "nn.functional.dropout(self.down(y), self.dropout.p)",
        "two evaluations of the same model differ",
    ),
    "noise in training": (
        "draws only as declared",
        "return y +",
        "return y + self.training * 0.01 * torch.randn_like(y) +",
        "two training passes of the same model differ",
    ),
    "noise in the extra loss": (
        "draws only as declared",
        "",
        "    def extra_loss(self, model):\n        return torch.rand(()) * model.out_head.weight.square().sum()\n",
        "two training passes of the same model differ",
    ),
    "noise after a step": (
        "moves only what it declares",
        "",
        "    def after_step(self, model, step):\n"
        "        model.trf_blocks[1].up.weight.data.add_(1e-4 * torch.randn_like(model.trf_blocks[1].up.weight))\n",
        "trf_blocks.1.up.weight changed in 60 steps without a learning rate",
    ),
    "a write every 50th step": (
        "moves only what it declares",
        "",
        "    def after_step(self, model, step):\n"
        "        if step % 50 == 49:\n            model.final_norm.scale.data.mul_(1.01)\n",
        "final_norm.scale changed",
    ),
    "a write every 50th call": (
        "moves only what it declares",
        "        y = self.block(x)\n",
        "        self.calls += self.training\n"
        "        if self.calls % 50 == 49:\n            self.block.norm1.scale.data.mul_(1.01)\n"
        "        y = self.block(x)\n",
        "norm1.scale",
    ),
    "a detached extra loss": (
        "gradients are complete",
        "",
        "    def extra_loss(self, model):\n"
        "        return sum(each.up.weight.detach().square().sum() for each in model.trf_blocks)\n",
        "is not the slope of the loss",
    ),
    "the wrong block": (
        "trains where it says",
        APPLY,
        "        for number, block in list(enumerate(model.trf_blocks))[:-1]:\n",
        "0 numbers train in block 3; counts() says 512",
    ),
    "another block": (
        "trains where it says",
        "return dict.fromkeys(range(config.n_layers), 8 * config.emb_dim)",
        "return {config.n_layers - 1: 8 * config.n_layers * config.emb_dim}",
        "512 numbers train in block 3; counts() says 2,048",
    ),
    "ten times the rate": (
        "keeps its rates",
        "",
        "    def param_groups(self, model):\n"
        "        groups = super().param_groups(model)\n"
        "        return [group | {'lr': 10 * self.learning_rate} for group in groups]\n",
        "param_groups has lr=0.01 for trf_blocks.0.down.weight, and 0.001 is declared",
    ),
    "a parameter left out": (
        "keeps its rates",
        "",
        "    def param_groups(self, model):\n        return [{'params': list(model.out_head.parameters())}]\n",
        "param_groups leaves out trf_blocks.0.down.weight",
    ),
    "the padding read": (
        "leaves the padding unread",
        "y = self.block(x)",
        "y = self.block(x) + 0.1 * x.mean(dim=1, keepdim=True)",
        "the logits change with the padding",
    ),
    "the padding read in training": (
        "leaves the padding unread",
        "y = self.block(x)",
        "y = self.block(x) + self.training * 0.1 * x.mean(dim=1, keepdim=True)",
        "the padding behind a message's last token while training",
    ),
    "unfreezing in before_training": (
        "moves only what it declares",
        "",
        "    def before_training(self, model, epochs, steps_per_epoch):\n        unfreeze(model.final_norm)\n",
        "final_norm.scale, final_norm.shift trains although frozen after apply",
    ),
    "an edit in before_training": (
        "moves only what it declares",
        "",
        "    def before_training(self, model, epochs, steps_per_epoch):\n"
        "        model.trf_blocks[0].block.norm1.scale.data.mul_(1.1)\n",
        "norm1.scale",
    ),
}


def findings(path: Path, source: str, only: str | None = None) -> dict[str, tuple[str, str]]:
    """Title -> status and text of the checks of a strategy's source."""
    path.write_text(source, encoding="utf-8")
    (variant,) = build_variants([path.stem], plugins=[path])
    bench, checks = bench_and_checks(variant)
    found = {check.title: run_check(check, bench) for check in checks if only in (None, check.title)}
    return {title: (finding.status, finding.text) for title, finding in found.items()}


def test_the_strategy_that_they_are_made_of_is_sound(tmp_path: Path) -> None:
    found = findings(tmp_path / "sound.py", SOUND)
    assert {status for status, _ in found.values()} <= {"passed", "skipped"}, found


@pytest.mark.parametrize("fault", MUTANTS)
def test_a_mutant_is_caught(tmp_path: Path, fault: str) -> None:
    title, old, new, words = MUTANTS[fault]
    source = SOUND.replace(old, new, 1) if old else SOUND + new
    assert source != SOUND
    status, text = findings(tmp_path / "mutant.py", source, title)[title]
    assert status == "failed" and words in text, (status, text)


def test_every_check_of_behaviour_has_a_mutant() -> None:
    aimed = {title for title, *_ in MUTANTS.values()}
    assert {check.title for check in CHECKS if check.run.__module__.endswith("behaviour")} <= aimed
