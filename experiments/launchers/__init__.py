"""Where runs happen: groups of runs in, finished run folders out.

The runner decides what is to be run, gives every finished folder its place, and writes the report; a launcher only
does the runs, here or elsewhere, in any order. ``local`` is this process, ``ray`` a cluster, and ``shard`` a part of
the runs on each of several machines that know nothing of each other.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from headtohead.core.errors import InputError

if TYPE_CHECKING:  # a worker of a cluster comes through here before it has set its threads for torch
    from headtohead.core.engine import Engine, EngineOptions
    from headtohead.experiments.runs import Run
    from headtohead.experiments.spec.machine import LaunchSettings
    from headtohead.experiments.watch import Watcher


INSTALL_RAY = "install it with: python -m pip install 'ray>=2.50'"


class Launcher(Protocol):
    """Does runs."""

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The runs in the groups that are done together."""

    def launch(self, groups: Sequence[Sequence[Run]], watch: Watcher) -> Iterator[tuple[Run, Path]]:
        """Do the groups; yields each run with its complete folder, a failed one's included, as it is finished.

        The folder is not in its place yet: the caller moves it. KeyboardInterrupt ends what is under way.
        """


def check_launcher(settings: LaunchSettings) -> None:
    """InputError where what a launcher stands on is not installed."""
    if settings.launcher == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError(f"--launcher ray needs Ray, which is not installed; {INSTALL_RAY}")


def make_launcher(
    settings: LaunchSettings, engine: Engine, options: EngineOptions, scratch: Path, facts: dict[str, Any]
) -> Launcher:
    """The launcher that was asked for.

    Args:
        settings: which one, and how.
        engine: this process's; it plans, whoever runs.
        options: with which runs are computed; the engine here may stand on another device.
        scratch: where run folders are made before they have their place.
        facts: what every record says of the experiment.
    """
    if settings.launcher == "ray":
        from headtohead.experiments.launchers.ray import RayLauncher

        return RayLauncher(engine, options, scratch, facts, settings)
    from headtohead.experiments.launchers.local import LocalLauncher

    return LocalLauncher(engine, scratch, facts)
