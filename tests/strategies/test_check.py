"""The checks find what they are there for: each faulty strategy fails the check that is meant for it."""

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from headtohead.core.strategy import Variant
from headtohead.strategies import build_variants
from headtohead.strategies.check.__main__ import main
from headtohead.strategies.check.checks import CHECKS, count_at_124m
from headtohead.strategies.check.report import bench_and_checks, print_results, run_check, run_checks
from headtohead.strategies.lora import Lora

HEADER = """
from dataclasses import dataclass, field
from typing import ClassVar
import torch
from torch import nn
from headtohead.core.strategy import Baseline, LowRank, Prediction, Strategy, unfreeze

class Added(nn.Module):
    def __init__(self, linear, start=0.0):
        super().__init__()
        self.linear = linear
        self.weight = nn.Parameter(start * torch.eye(linear.out_features, linear.in_features))
    def forward(self, x):
        return self.linear(x) + x @ self.weight.T

@dataclass(frozen=True, kw_only=True)
class Mine(Strategy):
    '''A faulty strategy.

    Parameters: L*D^2 + D*C + C.
    At 124M: 7,079,426
    '''
    def insert(self, model, start=0.0):
        for block in model.trf_blocks:
            block.att.out_proj = Added(block.att.out_proj, start)
    def apply(self, model):
        self.insert(model)
    def counts(self, config, n_classes):
        return dict.fromkeys(range(config.n_layers), config.emb_dim**2)
"""
SOUND = ""
SKIPPED = ["merges into a plain GPT", "declared low rank is exact"]
FAULTS = {
    "can be applied": "    trains_head: ClassVar[bool] = False\n    def apply(self, model): pass",
    "starts at the pretrained model": "    def apply(self, model): self.insert(model, 0.1)",
    "moves only what it declares": """
    def after_step(self, model, step):
        model.final_norm.scale.data.add_(0.1)""",
    "moves all that it declares": """
    def apply(self, model):
        self.insert(model)
        model.trf_blocks[0].att.idle = nn.Parameter(torch.ones(3))""",
    "repeats under its seed": """
    drawn: ClassVar[list] = []
    def apply(self, model):
        self.insert(model)
        self.drawn.append(1)
        model.trf_blocks[0].att.out_proj.weight.data.fill_(1e-3 * len(self.drawn))""",
    "copies are independent": """
    def apply(self, model):
        self.insert(model)
        weight = model.trf_blocks[0].att.out_proj.weight
        model.trf_blocks[0].att.register_forward_hook(lambda module, args, out: out * (1 + weight.sum()))""",
    "count at 124M is as stated": "    def apply(self, model): unfreeze(model.final_norm)",
    "trains where it says": """
    def apply(self, model):
        model.trf_blocks[0].att.out_proj = Added(model.trf_blocks[0].att.out_proj)
    def counts(self, config, n_classes):
        return {1: config.emb_dim**2}""",
    "learns 16 messages by heart": "    learning_rate: float = 1e-12",
    "reloads bit-equal": """
    def apply(self, model):
        self.insert(model)
        for block in model.trf_blocks:
            block.att.out_proj.linear.bonus = torch.rand(())
            block.att.register_forward_hook(shifted)

def shifted(module, args, out):
    return out * (1 + module.out_proj.linear.bonus)""",
    "merges into a plain GPT": """
    merges: ClassVar[bool] = True
    def merge(self, model):
        for block in model.trf_blocks:
            block.att.out_proj = block.att.out_proj.linear""",
    "declared low rank is exact": """
    def low_rank(self, model):
        added = [block.att.out_proj for block in model.trf_blocks]
        return {m: LowRank(m.linear, torch.eye(len(m.weight)), m.weight, 3.0) for m in added}""",
}
MIXING = """
    def apply(self, model):
        self.insert(model)
        for block in model.trf_blocks:
            block.att.out_proj.__class__ = Mixing

class Mixing(Added):
    def forward(self, x):
        y = super().forward(x)
        return y + x.mean(dim=-2, keepdim=True) if torch.is_grad_enabled() else y"""
BASELINE = """
@dataclass(frozen=True, kw_only=True)
class Other(Baseline):
    '''A faulty baseline.

    At 124M: 5
    '''
    def fit_predict(self, train, labels, others, n_classes, seed):
        return Prediction({}, 5)
"""
BASELINE_FAULTS = {
    "gives scores": "torch.zeros(len(others), 2)",
    "repeats under its seed": "torch.rand(len(others), n_classes)",
    "learns from train alone": "torch.full((len(others), n_classes), float(len(others)))",
}


def variant_of(path: Path, body: str) -> Variant:
    path.write_text(body, encoding="utf-8")
    (variant,) = build_variants([path.stem], plugins=[path])
    return variant


def statuses(path: Path, body: str) -> dict[str, str]:
    return {result.check.title: result.finding.status for result in run_checks(variant_of(path, body))}


def status_of(title: str, path: Path, body: str) -> str:
    bench, checks = bench_and_checks(variant_of(path, body))
    (check,) = [check for check in checks if check.title == title]
    return run_check(check, bench).status


def test_a_sound_strategy_passes(tmp_path: Path) -> None:
    found = statuses(tmp_path / "sound.py", HEADER + SOUND)
    assert set(found.values()) == {"passed", "skipped"}
    assert [title for title, status in found.items() if status == "skipped"] == SKIPPED


@pytest.mark.parametrize("title", FAULTS)
def test_a_faulty_strategy_fails_the_check_for_it(tmp_path: Path, title: str) -> None:
    assert status_of(title, tmp_path / "faulty.py", HEADER + FAULTS[title]) == "failed"


def test_a_layer_that_only_the_reference_path_computes_right_is_a_warning(tmp_path: Path) -> None:
    assert status_of("engine's shortcuts are exact", tmp_path / "mixing.py", HEADER + MIXING) == "warning"


def test_losses_that_the_engine_changes_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    losses = iter([[0.7, 0.6], [0.7, 0.61]])
    monkeypatch.setattr("headtohead.strategies.check.checks._losses", lambda outcome: next(losses))
    assert status_of("engine's shortcuts are exact", tmp_path / "sound.py", HEADER + SOUND) == "failed"


@pytest.mark.parametrize("title", BASELINE_FAULTS)
def test_a_faulty_baseline_fails_the_check_for_it(tmp_path: Path, title: str) -> None:
    imports, _, _ = HEADER.partition("class Added")
    body = imports + BASELINE.format(BASELINE_FAULTS[title])
    assert status_of(title, tmp_path / "faulty.py", body) == "failed"


def test_seed_dependent_frozen_tensors_are_a_warning(tmp_path: Path) -> None:
    body = HEADER + (
        "    def apply(self, model):\n"
        "        self.insert(model)\n"
        "        model.trf_blocks[0].att.register_buffer('drawn', torch.rand(3))\n"
    )
    assert status_of("saves only what is trained", tmp_path / "drawn.py", body) == "warning"


def test_after_the_first_failure_nothing_else_is_run(tmp_path: Path) -> None:
    found = statuses(tmp_path / "broken.py", HEADER + "    def apply(self, model): model.nothing.there()")
    assert found.pop("can be applied") == "failed" and set(found.values()) == {"skipped"}


def test_a_failure_is_explained_in_words(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    variant = variant_of(path, HEADER + "    def apply(self, model):\n        model.nothing.there()\n")
    file = io.StringIO()
    print_results(Console(file=file, width=110), variant, list(run_checks(variant)))
    line = path.read_text(encoding="utf-8").splitlines().index("        model.nothing.there()") + 1
    for words in (
        "AttributeError",
        f"(broken.py, line {line})",
        "usual cause",
        "fix ",
        f"{len(CHECKS) - 1} skipped, 1 failed",
    ):
        assert words in file.getvalue()


def test_the_command_exits_0_1_or_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(HEADER + "    def apply(self, model): model.nothing.there()", encoding="utf-8")
    assert main(["head"]) == 0
    assert main([str(broken)]) == 1
    assert main(["haed"]) == 2 and "did you mean 'head'" in capsys.readouterr().err
    assert main([str(tmp_path / "absent.py")]) == 2 and "no such Python file" in capsys.readouterr().err
    assert main(["head", "--set", "head.width=3"]) == 2 and "width" in capsys.readouterr().err


def test_a_strategy_that_computes_with_weights_is_counted_with_some() -> None:
    class Decomposed(Lora):
        def apply(self, model: object) -> None:
            model.tok_emb.weight.sum().item()  # type: ignore[attr-defined]
            super().apply(model)  # type: ignore[arg-type]

    class Wrong(Decomposed):
        def layer_count(self, inputs: int, outputs: int) -> int:
            return 1

    assert count_at_124m(Decomposed()) == count_at_124m(Wrong()) == count_at_124m(Lora()) == 2_655_746
    assert torch.get_default_device().type == "cpu"
