"""oneDNN's products and gradients are those of MKL; the faster one is found, kept and checked; runs stay the same."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.engine import engine, products
from headtohead.core.engine.plan import ALL, REFERENCE
from headtohead.core.engine.products import (
    FEW_ROWS,
    MKL,
    ONEDNN,
    Kind,
    Products,
    find_products,
    linear,
    measure,
)
from tests.core.engine.test_parity import CONFIG, assert_same_numbers, run

pytestmark = pytest.mark.skipif(not products.onednn_works(), reason="this build of torch has no oneDNN")


def _is_of(kind: str, shape: Any) -> bool:
    return bool(shape[0] == kind)


# One kind of product at a time by oneDNN, then all of them.
FORCED = {
    **{kind: Products({}, partial(_is_of, kind)) for kind in get_args(Kind)},
    "all": ONEDNN,
}


def gradients(rows: int, with_bias: bool, by: Products) -> list[Tensor]:
    """The product, and the gradients of everything that goes into it."""
    generator = torch.Generator().manual_seed(0)
    shapes: list[tuple[int, ...]] = [(rows, 48), (32, 48), (32,)]
    x, weight, bias = (torch.randn(shape, generator=generator).requires_grad_() for shape in shapes)
    inputs = [x, weight, bias] if with_bias else [x, weight]
    y = linear(x, weight, bias if with_bias else None, by)
    return [y, *torch.autograd.grad(y.square().sum(), inputs)]


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("rows", [1, FEW_ROWS, FEW_ROWS + 1, 200])
def test_both_libraries_agree(rows: int, with_bias: bool) -> None:
    for by in FORCED.values():
        pairs = zip(gradients(rows, with_bias, by), gradients(rows, with_bias, MKL), strict=True)
        for ours, expected in pairs:
            torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-3 if rows > FEW_ROWS else 1e-4)


def test_nothing_is_kept_for_gradients_that_nobody_needs() -> None:
    x, weight = torch.randn(4, 8, requires_grad=True), torch.randn(3, 8)
    with torch.no_grad():
        assert not linear(x, weight, None, ONEDNN).requires_grad
    (d_x,) = torch.autograd.grad(linear(x, weight, None, ONEDNN).sum(), [x])
    torch.testing.assert_close(d_x, F.linear(torch.ones(4, 3), weight.T))


def test_the_faster_library_is_measured_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path))
    monkeypatch.setattr(products, "SECONDS", 0.0)
    found = find_products(32)
    (path,) = tmp_path.glob("products/32-*.json")
    assert len(found.measured) == 3 * 4 * len(products.ROWS)
    # What was kept is believed, and the nearest number of rows stands for another.
    kept = dict.fromkeys(json.loads(path.read_text()), False) | {"weight 240 32 96": True}
    path.write_text(json.dumps(kept))
    again = find_products(32)
    assert again.by_onednn("weight", 200, 32, 96) and not again.by_onednn("weight", 8, 32, 96)
    assert "of weights 1 of 16 shapes" in again.in_words()
    for damaged in ("{", "[1]", json.dumps({"backward 1 2 3": True}), json.dumps({"weight 1 2": True})):
        path.write_text(damaged)
        assert len(find_products(32).measured) == len(found.measured)


def test_a_product_that_is_wrong_or_refused_is_never_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if len(x) == 8:
            raise RuntimeError("could not create a primitive")
        return F.linear(x, weight, bias) * 1.01

    monkeypatch.setattr(products, "_by_onednn", by_onednn)
    assert not any(measure(16).values())


def test_without_the_private_function_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "onednn_works", lambda: False)
    for ours, expected in zip(gradients(20, True, ONEDNN), gradients(20, True, MKL), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("label", ["last_block", "all_layers", "lora", "lora@r=2+targets=W_query/layers.0"])
def test_runs_agree_with_reference(
    label: str, position: Literal["last", "last_real"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "find_products", lambda emb_dim: ONEDNN)
    monkeypatch.setattr(engine, "SMALL", 0)
    config = replace(CONFIG, position=position)
    fast = run(label, ALL, config, tmp_path)
    assert fast.plan["onednn"] and ONEDNN.in_words() in fast.plan["words"]
    assert_same_numbers(fast, run(label, REFERENCE, config, tmp_path))
