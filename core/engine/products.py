"""The matrix products of linear layers in fp32 on a CPU, each by the library that is the faster one here.

Torch gives these products to MKL; oneDNN is in the same build. Which of the two is faster depends on the processor,
on the product (forward, gradient of the input, gradient of the weight) and on its shape: on one processor with AVX-512
oneDNN was twice as fast, on another a tenth, and held to AVX2 it computed some gradients slower. So each is timed
once on a machine, and the choice is kept in the cache folder. Both add up the same products in another order.
Shapes: n rows, D inputs, E outputs.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.device import processor_name
from headtohead.core.errors import InputError
from headtohead.core.files import cache_dir, write_text_atomic
from headtohead.core.json_files import read_object

Kind = Literal["forward", "input", "weight"]
Shape = tuple[Kind, int, int, int]  # kind, n, D, E

VERSION = 1  # of what is measured; part of the key in the cache folder
ROWS = (8, 64, 240, 960)  # last positions, few tokens, a packed batch, a padded one
REPEATS, SECONDS = 5, 0.02  # of one product: the best of so many, or of as many as fit into that time
MUCH = (
    0.9  # of the other's time: below it the usual choice is given up; a shared machine is measured with noise
)
SAME = 1e-4  # of the largest number: the same products in another order
FEW_ROWS = 16  # up to which oneDNN usually computes the gradient of a weight faster, too


@cache
def onednn_works() -> bool:
    """Whether this build of torch has oneDNN's products behind the function that is called here."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


# --- which library ---------------------------------------------------------------------------------------------


def usual(shape: Shape) -> bool:
    """Whether oneDNN computes a product that was never timed."""
    kind, rows, *_ = shape
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and (kind != "weight" or rows <= FEW_ROWS)


class Products:
    """Which library computes which product.

    Args:
        measured: shape -> by oneDNN, for some numbers of rows; the nearest of them stands for the others.
        otherwise: the same for shapes that were not measured.
    """

    def __init__(self, measured: Mapping[Shape, bool], otherwise: Callable[[Shape], bool]) -> None:
        self.measured = dict(measured)
        self._otherwise = otherwise
        self._known: dict[Shape, bool] = {}

    def by_onednn(self, kind: Kind, rows: int, inputs: int, outputs: int) -> bool:
        """Whether oneDNN computes this product."""
        shape = (kind, rows, inputs, outputs)
        if shape not in self._known:
            self._known[shape] = self._find(shape)
        return self._known[shape]

    def in_words(self) -> str:
        """For the plan."""
        parts = []
        for kind, name in (
            ("forward", "forward"),
            ("input", "gradients of inputs"),
            ("weight", "of weights"),
        ):
            found = [by_onednn for shape, by_onednn in self.measured.items() if shape[0] == kind]
            if found:
                parts.append(f"{name} {sum(found)} of {len(found)} shapes")
        how = f" ({', '.join(parts)}), as measured on this machine" if parts else ""
        return f"matrix products by oneDNN where it is faster than MKL{how}"

    def _find(self, shape: Shape) -> bool:
        kind, rows, *sides = shape
        near = [each for each in self.measured if each[0] == kind and list(each[2:]) == sides]
        if not near:
            return self._otherwise(shape)
        return self.measured[min(near, key=lambda each: abs(each[1].bit_length() - rows.bit_length()))]


MKL = Products({}, lambda shape: False)
ONEDNN = Products({}, lambda shape: True)


def find_products(emb_dim: int) -> Products:
    """What was measured on this machine for models of that width, now or by an earlier process."""
    name = f"{emb_dim}-{_machine()}.json"
    try:
        path = cache_dir() / "products" / name
        kept = read_object(path, "it is measured again") if path.is_file() else None
        if kept is not None:
            return Products({_shape(key): bool(value) for key, value in kept.items()}, usual)
    except (InputError, ValueError):
        pass  # damaged: it is measured again
    measured = measure(emb_dim)
    with suppress(InputError, OSError):  # a cache folder that cannot be written costs another measurement
        text = {" ".join(map(str, shape)): found for shape, found in measured.items()}
        write_text_atomic(cache_dir() / "products" / name, json.dumps(text, indent=1) + "\n")
    return Products(measured, usual)


def measure(emb_dim: int) -> dict[Shape, bool]:
    """Time both libraries on the linear layers of a block; a product of oneDNN's that is wrong is never taken."""
    sides = [(emb_dim, emb_dim), (emb_dim, 3 * emb_dim), (emb_dim, 4 * emb_dim), (4 * emb_dim, emb_dim)]
    generator = torch.Generator().manual_seed(0)
    measured: dict[Shape, bool] = {}
    with torch.no_grad():
        for inputs, outputs in sides:
            weight = torch.randn(outputs, inputs, generator=generator)
            for rows in ROWS:
                x = torch.randn(rows, inputs, generator=generator)
                gradient = torch.randn(rows, outputs, generator=generator)
                for kind, pair in _both(x, weight, gradient).items():
                    shape = (kind, rows, inputs, outputs)
                    measured[shape] = pair.agree() and pair.onednn_pays(usual(shape))
    return measured


@dataclass(frozen=True)
class _Pair:
    """One product by either library."""

    mkl: Callable[[], Tensor]
    onednn: Callable[[], Tensor]

    def agree(self) -> bool:
        """Whether oneDNN's result is MKL's, up to rounding."""
        expected = self.mkl()
        try:
            found = self.onednn()
        except RuntimeError:
            return False
        scale = max(1.0, float(expected.abs().max()))
        return found.shape == expected.shape and float((found - expected).abs().max()) <= SAME * scale

    def onednn_pays(self, usually: bool) -> bool:
        """Whether oneDNN is the faster one; ``usually``: it is taken unless it is much slower."""
        best = [float("inf"), float("inf")]
        start = time.perf_counter()
        for _ in range(REPEATS):  # in turns, so that both meet the same neighbours
            for number, product in enumerate((self.mkl, self.onednn)):
                began = time.perf_counter()
                product()
                best[number] = min(best[number], time.perf_counter() - began)
            if time.perf_counter() - start > 2 * SECONDS:
                break
        mkl, onednn = best
        return onednn * MUCH < mkl if usually else onednn < MUCH * mkl


def _both(x: Tensor, weight: Tensor, gradient: Tensor) -> dict[Kind, _Pair]:
    return {
        "forward": _Pair(lambda: F.linear(x, weight), lambda: _by_onednn(x, weight)),
        "input": _Pair(lambda: gradient @ weight, lambda: _by_onednn(gradient, weight.T)),
        "weight": _Pair(lambda: gradient.T @ x, lambda: _by_onednn(gradient.T, x.T)),
    }


def _shape(key: str) -> Shape:
    kind, *numbers = key.split()
    rows, inputs, outputs = map(int, numbers)
    if kind not in get_args(Kind):
        raise ValueError(key)
    return kind, rows, inputs, outputs  # type: ignore[return-value]  # checked above


def _machine() -> str:
    """What a choice holds for."""
    capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    facts = [VERSION, processor_name(), capability, str(torch.__version__), threads]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


# --- the products ----------------------------------------------------------------------------------------------


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, products: Products) -> Tensor:
    """``F.linear``: x (n, D), weight (E, D), bias (E,) or None -> (n, E), with a graph where one is needed."""
    if products is not MKL and torch.is_grad_enabled():
        return _Linear.apply(x, weight, bias, products)  # type: ignore[no-untyped-call]
    return product(x, weight, bias, products)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, products: Products) -> Tensor:
    """``F.linear`` without a graph."""
    if products.by_onednn("forward", len(x), weight.shape[1], weight.shape[0]):
        return _by_onednn(x, weight, bias)
    return F.linear(x, weight, bias)


def input_gradient(gradient: Tensor, weight: Tensor, products: Products) -> Tensor:
    """(n, E), (E, D) -> (n, D)."""
    if products.by_onednn("input", len(gradient), weight.shape[1], weight.shape[0]):
        return _by_onednn(gradient, weight.T)
    return gradient @ weight


def weight_gradient(gradient: Tensor, x: Tensor, products: Products) -> Tensor:
    """(n, E), (n, D) -> (E, D)."""
    if products.by_onednn("weight", len(x), x.shape[1], gradient.shape[1]):
        return _by_onednn(gradient.T, x.T)
    return gradient.T @ x


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` by a function that torch keeps for itself; either factor may be a transposed view."""
    if not onednn_works():
        return F.linear(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


class _Linear(torch.autograd.Function):
    """``x W^T + bias``, and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, products: Products) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.products = products
        return product(x, weight, bias, products)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients  # (n, E)
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        d_x = input_gradient(gradient, weight, ctx.products) if for_x else None
        d_weight = weight_gradient(gradient, x, ctx.products) if for_weight else None
        return d_x, d_weight, gradient.sum(0) if for_bias else None, None
