"""How a strategy's numbers are computed: the run itself, and ways to do less work for the same numbers."""

from headtohead.core.engine.cost import CostMeter, Costs
from headtohead.core.engine.engine import Engine
from headtohead.core.engine.options import WHOLE, EngineOptions, Job, Outcome, Part
from headtohead.core.engine.plan import ALL, REFERENCE
from headtohead.core.engine.seeds import fit_group, groups

# Part of a run's identity: raise it when the same strategy under the same protocol may give other numbers.
ENGINE_VERSION = 2

__all__ = [
    "ALL",
    "ENGINE_VERSION",
    "REFERENCE",
    "WHOLE",
    "CostMeter",
    "Costs",
    "Engine",
    "EngineOptions",
    "Job",
    "Outcome",
    "Part",
    "fit_group",
    "groups",
]
