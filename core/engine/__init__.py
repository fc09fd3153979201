"""How a strategy's numbers are computed: the run itself, and ways to do less work for the same numbers."""

from core.engine.fit import Engine
from core.engine.options import EngineOptions, Job, Outcome
from core.engine.plan import ALL, REFERENCE
from core.engine.seeds import fit_group, groups

__all__ = ["ALL", "REFERENCE", "Engine", "EngineOptions", "Job", "Outcome", "fit_group", "groups"]
