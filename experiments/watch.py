"""What happens while an experiment runs, told to whoever wants to show or log it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headtohead.core import training
    from headtohead.experiments.agenda import Agenda
    from headtohead.experiments.record import RunRecord
    from headtohead.experiments.runs import Run
    from headtohead.experiments.statistics import Summary


class Watcher:
    """Hears everything and does nothing: the base of those that do, and what a call from Python uses."""

    def tokenised(self, done: int, total: int) -> None:
        """So many of the messages are tokens now."""

    def planned(self, agenda: "Agenda") -> None:
        """Everything before the first run is known."""

    def launching(self, agenda: "Agenda", groups: "Sequence[Sequence[Run]]") -> None:
        """The runs that are left are about to begin, in these groups, one after another."""

    def began(self, titles: Sequence[str]) -> None:
        """A run starts, or several at once; ``titles`` are such as "lora@r=4, seed 123"."""

    def placed(self, titles: Sequence[str], where: str) -> None:
        """Runs have started on a node of a cluster."""

    def lost(self, titles: Sequence[str], why: str) -> None:
        """A worker or node of a cluster died; the runs that it was doing begin again."""

    def step(self, progress: "training.Progress") -> None:
        """A step of what began last is done."""

    def finished(self, record: "RunRecord") -> None:
        """A run ended, well or not, and its folder is in its place."""

    def reported(self, summary: "Summary", paths: Mapping[str, Path], seconds: float | None) -> None:
        """The report is written; ``paths`` by name, ``seconds`` since the start where runs were done."""

    def interrupted(self, kept: int, of: int) -> None:
        """The user stopped it; ``kept`` runs of this command are finished."""


class Everyone(Watcher):
    """Tells each of several watchers everything, in their order."""

    def __init__(self, watchers: Sequence[Watcher]) -> None:
        self.watchers = tuple(watchers)


def _tell(name: str) -> Callable[..., None]:
    def tell(self: Everyone, *args: Any) -> None:
        for watcher in self.watchers:
            getattr(watcher, name)(*args)

    return tell


for _name in [name for name in vars(Watcher) if not name.startswith("_")]:
    setattr(Everyone, _name, _tell(_name))
