"""How a strategy's numbers are computed: the run itself, and ways to do less work for the same numbers."""

from core.engine.fit import Engine, EngineOptions, Outcome

__all__ = ["Engine", "EngineOptions", "Outcome"]
