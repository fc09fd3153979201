"""Where a strategy's hyperparameters may be searched, declared beside its defaults; imports nothing heavy.

search: ClassVar[Search] = {"learning_rate": Around(100), "r": Choice((4, 8, 16))}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Around:
    """A positive number on a logarithmic grid around its default, from default / factor to default * factor."""

    factor: float = 100.0

    def grid(self, default: float, count: int) -> tuple[float, ...]:
        """``count`` values in ascending order; the default is one of them, in the middle or just below it."""
        below, above = (count - 1) // 2, count // 2
        step = self.factor ** (1 / above) if above else 1.0
        values = [float(f"{default * step**power:.3g}") for power in range(-below, above + 1)]
        values[below] = default
        return tuple(values)


@dataclass(frozen=True)
class Choice:
    """One of some values that the method's authors tried; the default need not be among them."""

    values: tuple[Any, ...]

    def grid(self, default: Any, count: int) -> tuple[Any, ...]:
        """The first ``count`` values, the default before the others."""
        return (default, *(value for value in self.values if value != default))[:count]


Search = Mapping[str, Around | Choice]


def trials(search: Search, defaults: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """``count`` settings of the fields in ``search``, all distinct; the defaults are among them.

    The first field runs through its whole grid, so that no two trials repeat a value of the one that matters most
    (Bergstra and Bengio 2012, J. Machine Learning Research 13); every other one takes its values in turn.
    """
    if not search:
        return [{}]
    main, *others = search
    values = search[main].grid(defaults[main], count)
    start = values.index(defaults[main])  # where the others have their defaults, too
    grids = {name: search[name].grid(defaults[name], count) for name in others}
    found = [
        {main: value, **{name: grid[(place - start) % len(grid)] for name, grid in grids.items()}}
        for place, value in enumerate(values)
    ]
    return [setting for place, setting in enumerate(found) if setting not in found[:place]]
