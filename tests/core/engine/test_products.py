"""oneDNN's products and gradients are those of MKL, and whole runs with them have the reference path's numbers."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.engine import fit
from headtohead.core.engine.plan import ALL, REFERENCE
from headtohead.core.engine.products import FEW_ROWS, linear
from tests.core.engine.test_parity import CONFIG, assert_same_numbers, run

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="this build of torch has no oneDNN",
)


def gradients(rows: int, with_bias: bool, onednn: bool) -> list[Tensor]:
    """The product, and the gradients of everything that goes into it."""
    generator = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(rows, 48), (32, 48), (32,)]
    x, weight, bias = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    inputs = [x, weight, bias] if with_bias else [x, weight]
    y = linear(x, weight, bias if with_bias else None, onednn)
    return [y, *torch.autograd.grad(y.square().sum(), inputs)]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1, 200])
def test_both_libraries_agree(rows: int, with_bias: bool) -> None:
    pairs = zip(gradients(rows, with_bias, True), gradients(rows, with_bias, False), strict=True)
    for ours, expected in pairs:
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-3 if rows > FEW_ROWS else 1e-4)


def test_nothing_is_kept_for_gradients_that_nobody_needs() -> None:
    x, weight = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8)
    with torch.no_grad():
        assert not linear(x, weight, None, onednn=True).requires_grad
    (d_x,) = torch.autograd.grad(linear(x, weight, None, onednn=True).sum(), [x])
    torch.testing.assert_close(d_x, F.linear(torch.ones(4, 3), weight.T))


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("label", ["last_block", "all_layers", "lora", "lora@r=2+targets=W_query/layers.0"])
def test_runs_agree_with_reference(
    label: str, position: Literal["last", "last_real"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "onednn_pays", lambda: True)
    monkeypatch.setattr(fit, "SMALL", 0)
    config = replace(CONFIG, position=position)
    fast = run(label, ALL, config, tmp_path)
    assert fast.plan["onednn"] and "matrix products by oneDNN" in fast.plan["words"]
    assert_same_numbers(fast, run(label, REFERENCE, config, tmp_path))
