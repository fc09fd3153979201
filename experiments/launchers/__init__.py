"""Where runs happen: groups of runs in, finished run folders out.

The runner decides what is to be run, gives every finished folder its place, and writes the report; a launcher only
does the runs, here or elsewhere, in any order. ``local`` is this process.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from headtohead.experiments.runs import Run
from headtohead.experiments.watch import Watcher


class Launcher(Protocol):
    """Does runs."""

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The runs in the groups that are done together."""

    def launch(self, groups: Sequence[Sequence[Run]], watch: Watcher) -> Iterator[tuple[Run, Path]]:
        """Do the groups; yields each run with its complete folder, a failed one's included, as it is finished.

        The folder is not in its place yet: the caller moves it. KeyboardInterrupt ends what is under way.
        """
