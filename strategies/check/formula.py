"""The parameter counts that a strategy's docstring states: a number at 124M and a closed form."""

import ast
import math
import operator
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from headtohead.core.classifier import make_classifier
from headtohead.core.config import GPTConfig
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, count_parameters, trainable_parameters

_OPERATORS: Mapping[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: Mapping[str, Any] = {"min": min, "max": max, "gcd": lambda *numbers: math.gcd(*map(int, numbers))}


def trainable_by_shapes(config: GPTConfig, strategy: Strategy, n_classes: int = 2) -> int | None:
    """How many numbers a strategy trains of a model of that shape, without its weights.

    None for a method that computes with the weights when it is applied (an SVD, for example).
    """
    try:
        return _count(config, strategy, n_classes, "meta")
    except (NotImplementedError, RuntimeError):
        return None


def trainable_at(config: GPTConfig, strategy: Strategy, n_classes: int = 2) -> int:
    """The same for every method: where shapes are not enough, with random weights, which takes up to half a minute."""
    by_shapes = trainable_by_shapes(config, strategy, n_classes)
    return _count(config, strategy, n_classes, "cpu") if by_shapes is None else by_shapes


def _count(config: GPTConfig, strategy: Strategy, n_classes: int, device: str) -> int:
    with torch.device(device):
        model = GPTModel(config)
        make_classifier(model, strategy, n_classes, seed=0)
    return count_parameters(trainable_parameters(model))


def stated_number(text: str) -> int | None:
    """``"1,538"`` -> 1538; None where a number does not begin the text."""
    found = re.match(r"\d[\d,]*", text)
    return int(found[0].replace(",", "")) if found else None


def symbols(config: GPTConfig, strategy: Strategy, n_classes: int = 2) -> dict[str, float]:
    """What the letters of a closed form stand for, and the strategy's fields that hold numbers."""
    own = {field.name: getattr(strategy, field.name) for field in fields(strategy)}
    return {name: value for name, value in own.items() if isinstance(value, int | float)} | {
        "V": config.vocab_size,
        "P": config.context_length,
        "D": config.emb_dim,
        "L": config.n_layers,
        "H": config.n_heads,
        "C": n_classes,
    }


def evaluate(text: str, values: Mapping[str, float]) -> float | None:
    """The value of a closed form such as ``L * r * 18*D (six layers) + D*C + C.``; None where it is no such thing.

    Remarks in brackets and whatever follows the first full stop, comma, semicolon or colon are left out.
    """
    words = "|".join(map(re.escape, (*values, *_FUNCTIONS)))
    # A bracket that holds a word which is no symbol is a remark.
    remark = re.compile(rf"(?<![a-z])\((?=[^()]*\b(?!(?:{words})\b)[A-Za-z]{{2,}})[^()]*\)")
    formula = remark.sub("", text).replace("^", "**")
    formula = re.split(r"\.(?!\d)|[;:]|,(?![^()]*\))", formula)[0]
    formula = re.sub(r"(?<![A-Za-z_\d])(\d+)\s*(?=[A-Za-z(])", r"\1*", formula).strip()
    try:
        return _value(ast.parse(formula, mode="eval").body, values)
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError):
        return None


def _value(node: ast.expr, values: Mapping[str, float]) -> float:
    """KeyError for an unknown symbol, TypeError for whatever is no arithmetic."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    if isinstance(node, ast.Name):
        return values[node.id]
    if isinstance(node, ast.BinOp):
        value: float = _OPERATORS[type(node.op)](_value(node.left, values), _value(node.right, values))
        return value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _FUNCTIONS[node.func.id](*(_value(argument, values) for argument in node.args))
    raise TypeError(ast.dump(node))
