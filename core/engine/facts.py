"""What of a model and a strategy is as the packages define it, found by looking, never by a name.

Every part of the model is held against the same part of a model that nobody has touched: its type, its attributes,
its hooks, its children and the kind of its parameters. What a plan leaves out or computes in another way must be
unchanged; what it merely calls may be anything.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as module_hooks

from headtohead.core.config import GPTConfig
from headtohead.core.model import AS_DEFINED, FUNCTIONS, GPTModel, LayerNorm, MultiHeadAttention
from headtohead.core.strategy import OPTIONAL, Strategy

EVERY_STEP = frozenset({"extra_loss", "after_step"})  # methods that are called at every step
GROUPING = frozenset({"learning_rate_of", "weight_decay_of", "param_groups"})  # once, for the optimizer
HEAD = "out_head"
# Where the engine's blocks call whatever layer stands there.
CALLED = (
    "att.W_query",
    "att.W_key",
    "att.W_value",
    "att.out_proj",
    "ff.layers.0",
    "ff.layers.2",
    "norm1",
    "norm2",
)


@dataclass(frozen=True)
class Facts:
    """What was found.

    Attributes:
        overrides: the optional methods of the contract that the strategy has of its own.
        changes: what differs from an untouched model, by the place in the model ("" is the model itself).
        beyond: why nothing may be left out whatever the plan: hooks, patches, tensors that are shared; None if none.
    """

    overrides: frozenset[str]
    changes: dict[str, str]
    beyond: str | None

    @cached_property
    def steps(self) -> bool:
        """Whether code of the strategy runs between two steps."""
        return bool(self.overrides & EVERY_STEP)

    @cached_property
    def plain(self) -> bool:
        """Whether a step runs nothing but the packages' own code."""
        return not (self.changes or self.beyond or self.overrides - GROUPING)

    def unchanged(self, *places: str) -> bool:
        """Whether nothing differs in these places and below."""
        return not any(_within(where, place) for where in self.changes for place in places)

    def called_only(self, block: int) -> bool:
        """Whether all that differs in a block are layers that the engine's blocks call as they are."""
        place = f"trf_blocks.{block}"
        inside = [where for where in self.changes if _within(where, place)]
        return all(any(_within(where, f"{place}.{layer}") for layer in CALLED) for where in inside)


def look(model: GPTModel, strategy: Strategy) -> Facts:
    """The facts of a model as a strategy left it."""
    overrides = overridden(strategy)
    if type(model) is not GPTModel:
        return Facts(
            overrides, {"": f"the model is a {type(model).__name__}"}, "the model itself was replaced"
        )
    changes = dict(_changes(model))
    return Facts(
        overrides, changes, patched() or _watched(model) or _shared(model, changes) or _core(changes)
    )


def overridden(strategy: Strategy) -> frozenset[str]:
    """The optional methods of the contract of which a call would run other code than the contract's own."""
    functions = {name: getattr(getattr(strategy, name), "__func__", None) for name in OPTIONAL}
    return frozenset(name for name, function in functions.items() if function is not OPTIONAL[name])


def _within(where: str, place: str) -> bool:
    return where == place or where.startswith(f"{place}.")


# --- the model's parts -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Part:
    """One part of an untouched model, prepared for comparing.

    Attributes:
        name, parent, child: its place.
        kind: its type.
        plain: the names of its attributes.
        simple: those whose values are plain numbers and the like.
        read: names that its code may read from it, its own attributes aside.
        modules, parameters: names in order; a parameter's shape, or None where there is none.
    """

    name: str
    parent: str
    child: str
    kind: type
    plain: frozenset[str]
    simple: tuple[tuple[str, Any], ...]
    read: frozenset[str]
    modules: tuple[str, ...]
    parameters: tuple[tuple[str, torch.Size | None], ...]


@cache
def _untouched(config: GPTConfig) -> tuple[_Part, ...]:
    """The parts of a classifier of that shape, parents first."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        model = GPTModel(config)
        model.out_head = nn.Linear(config.emb_dim, 1)
    return tuple(_part(name, module) for name, module in model.named_modules())


def _part(name: str, module: nn.Module) -> _Part:
    parent, _, child = name.rpartition(".")
    # How many classes there are, and so the head's shape, is for the data to say.
    ignored = {"training", "out_features"} if name == HEAD else {"training"}
    kinds = (type(None), bool, int, float, str, GPTConfig)
    return _Part(
        name,
        parent,
        child,
        type(module),
        frozenset(vars(module)),
        tuple(
            (key, value)
            for key, value in vars(module).items()
            if isinstance(value, kinds) and key not in ignored
        ),
        frozenset({*dir(type(module)), *module._modules, *module._parameters}),
        tuple(module._modules),
        tuple(
            (key, None if value is None or name == HEAD else value.shape)
            for key, value in module._parameters.items()
        ),
    )


def _changes(model: GPTModel) -> Iterator[tuple[str, str]]:
    """Place -> what differs there; below a part of another type nothing is compared."""
    other: set[str] = set()
    found: dict[str, Any] = {"": model}
    for part in _untouched(model.config if isinstance(model.config, GPTConfig) else GPTConfig()):
        if part.name:
            if part.parent in other:
                other.add(part.name)
                continue
            found[part.name] = found[part.parent]._modules.get(part.child)
        module: Any = found[part.name]
        if type(module) is not part.kind or part.kind not in AS_DEFINED:
            other.add(part.name)
            yield part.name, f"{part.name} was replaced by a {type(module).__name__}"
        elif what := _difference(found[part.name], part):
            yield part.name, f"{part.name or 'the model'} {what}"


def _difference(found: nn.Module, part: _Part) -> str | None:
    """How one part of the right type differs from an untouched one, its children aside."""
    own = vars(found)
    if own.keys() != part.plain:
        # Other attributes are read by nobody, unless they stand before what is.
        wrong = [name for name in own if name not in part.plain and name in part.read]
        wrong += [name for name in part.plain if name not in own]
        if wrong:
            return f"has a {wrong[0]} of its own"
    if tuple(found._modules) != part.modules:
        return "holds other modules"
    if found._buffers:
        return "holds a buffer"
    for name, value in part.simple:
        if own[name] != value:
            return f"has {name} {own[name]!r} instead of {value!r}"
    return _parameters_differ(found, part)


def _parameters_differ(found: nn.Module, part: _Part) -> str | None:
    if len(found._parameters) != len(part.parameters):
        return "holds other parameters"
    for name, shape in part.parameters:
        parameter = found._parameters.get(name)
        if parameter is None:
            if shape is not None:
                return f"has no {name}"
        elif type(parameter) is not nn.Parameter or parameter.dtype != torch.float32:
            return f"has a {name} of another kind"
        elif part.name != HEAD and parameter.shape != shape:
            return f"has a {name} of another shape"
    return None


# --- what forbids any plan ---------------------------------------------------------------------------------------


def patched() -> str | None:
    """A class or function of which the model is made is not the one that was defined."""
    for kind, members in AS_DEFINED.items():
        now = vars(kind)
        for name, member in members.items():
            if now.get(name) is not member:
                return f"{kind.__name__}.{name} was replaced"
        added = now.keys() - members.keys() - {"__init__"} if kind is not nn.Module else ()
        if more := next((name for name in added if callable(now[name])), None):
            return f"{kind.__name__}.{more} was added"
    for name, function in FUNCTIONS.items():
        if getattr(F, name) is not function:
            return f"torch.nn.functional.{name} was replaced"
    everywhere = (name for name in vars(module_hooks) if name.startswith("_global_") and "hooks" in name)
    if any(_filled(getattr(module_hooks, name)) for name in everywhere):
        return "hooks are registered for all modules"
    return None


def _filled(hooks: Any) -> bool:
    return hasattr(hooks, "__len__") and len(hooks) > 0


def _watched(model: GPTModel) -> str | None:
    """A hook on a module or a tensor, or a method of an instance: code that runs where no class shows it."""
    for name, module in model.named_modules():
        own = vars(module)
        for key in _HOOKS:
            if own.get(key):
                return f"{name or 'the model'} has a hook"
        for key in own.keys() & _methods(module.__class__):
            if callable(own[key]):
                return f"{name or 'the model'} has a {key} of its own"
    for name, tensor in _tensors(model):
        if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):
            return f"{name} has a hook"
    return None


_HOOKS = tuple(key for key in vars(nn.Module()) if "hooks" in key and key != "_non_persistent_buffers_set")


_SIMPLE = {LayerNorm: ("eps",), MultiHeadAttention: ("num_heads", "head_dim", "causal"), nn.Dropout: ("p",)}


def outline(module: nn.Module) -> tuple[Any, ...]:
    """What a module is put together of, quickly; equal as long as nothing was added to it, taken or replaced."""
    own = vars(module)
    return (
        type(module),
        len(own),
        list(map(id, own["_modules"].values())),
        list(map(id, own["_parameters"].values())),
        [len(own[key]) for key in _HOOKS],
        [own.get(key) for key in _SIMPLE.get(type(module), ())],
    )


@cache
def _methods(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters()
    yield from model.named_buffers()


def _shared(model: GPTModel, changes: dict[str, str]) -> str | None:
    """A parameter of an unchanged part that stands, or whose memory lies, in another place, too."""
    seen: dict[int, str] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        first = seen.setdefault(id(parameter), name)
        if first == name:
            continue
        foreign = all(any(_within(each, place) for place in changes) for each in (first, name))
        if not foreign:
            return f"{first} is {name}, too"
    spans = sorted(
        (tensor.data_ptr(), tensor.nbytes, name) for name, tensor in _tensors(model) if tensor.nbytes
    )
    for (start, size, name), (following, _, other) in pairwise(spans):
        if following < start + size:
            return f"{name} and {other} share their memory"
    return None


def _core(changes: dict[str, str]) -> str | None:
    """The model itself, or the sequence of its blocks, is computed in another way."""
    return next((changes[place] for place in ("", "trf_blocks") if place in changes), None)
