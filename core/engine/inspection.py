"""What is known of a variant before its runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.classifier import rebuild
from headtohead.core.engine.baseline import WORDS
from headtohead.core.engine.facts import Facts, look
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Baseline, Method, count_parameters, trainable_parameters

if TYPE_CHECKING:
    from headtohead.core.engine.engine import Engine


@dataclass(frozen=True)
class Inspection:
    """What is known of a variant before its runs.

    Attributes:
        trainable_params, total_params: None for a baseline.
        cut: how many stages are computed once per distinct message.
        only_head: a plain head is trained and nothing else.
        words: how its runs are computed.
        restructured: the engine's own blocks compute what lies behind the cut.
        steps: the strategy has code of its own between two steps.
    """

    trainable_params: int | None
    total_params: int | None
    cut: int
    only_head: bool
    words: list[str]
    restructured: bool = False
    steps: bool = False


def inspect_strategy(engine: "Engine", strategy: Method) -> Inspection:
    """What a strategy trains in a classifier that is made for it, and thrown away."""
    n_blocks = engine.pretrained.config.n_layers
    if isinstance(strategy, Baseline):
        cut = n_blocks + 2 if strategy.reads == "features" else 0
        return Inspection(None, None, cut, False, WORDS)
    with engine.drawing:
        model = rebuild(engine.pretrained, strategy, engine.n_classes, 0, engine.config.outputs)
    plan, facts = engine.plan_of(model, strategy), look(model, strategy)
    return Inspection(
        count_parameters(trainable_parameters(model)),
        count_parameters(model.parameters()),
        plan.cut,
        plan.cut == n_blocks + 2 and not facts.overrides and _trains_plain_head(model, facts),
        engine.words(plan, None, None),
        plan.restructured,
        facts.steps,
    )


def _trains_plain_head(model: GPTModel, facts: Facts) -> bool:
    """Whether what trains is a linear head that nobody has touched."""
    head = model.out_head
    if not facts.plain or head.bias is None:
        return False
    return {id(each) for each in trainable_parameters(model)} == {id(head.weight), id(head.bias)}
