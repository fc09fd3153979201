"""What to run, as one checked, frozen value: an Experiment with a section for each concern.

Every setting is declared once, in the module of its concern, with its flag (:mod:`headtohead.experiments.flags`).
Imports nothing heavy, so that a mistake in a flag is answered at once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from headtohead.core.errors import InputError
from headtohead.experiments.flags import flag, flags_of, given_in, read_path, read_section
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.spec.inputs import DataSettings, ModelSettings
from headtohead.experiments.spec.labels import strategy_labels
from headtohead.experiments.spec.machine import EngineSettings, LaunchSettings
from headtohead.experiments.spec.output import OutputSettings
from headtohead.experiments.spec.presets import PRESETS, SUITES, choose_preset
from headtohead.experiments.spec.seeds import DEFAULT_SEED, FEW_SEEDS, SequentialSettings, parse_seeds
from headtohead.experiments.spec.training import TrainingSettings, TuningSettings
from headtohead.strategies import DEFAULT, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A set of runs: every strategy label with every seed, on one model and one data set.

    Raises:
        InputError: a value that cannot be run; one sentence that names the flag.
    """

    strategies: tuple[str, ...] = flag(
        DEFAULT,
        "--strategies",
        "strategies separated by commas; NAME@FIELD=VALUE+FIELD=VALUE sets hyperparameters; a family's name or "
        f"all stand for their members (default: {','.join(DEFAULT)})",
        "LIST",
    )
    settings: tuple[str, ...] = flag(
        (),
        "--set",
        "a hyperparameter of every variant of a strategy; may be repeated",
        "NAME.FIELD=VALUE",
        repeated=True,
    )
    plugins: tuple[Path, ...] = flag(
        (),
        "--plugin",
        "a strategy file from anywhere; the strategy is named like the file; may be repeated",
        "FILE",
        read_path,
        repeated=True,
    )
    seeds: tuple[int, ...] | None = flag(
        None,
        "--seeds",
        f"seeds separated by commas (default: {','.join(map(str, FEW_SEEDS))} where that takes minutes, "
        f"else {DEFAULT_SEED})",
        "LIST",
        parse_seeds,
    )
    preset: str | None = flag(
        None,
        "--preset",
        f"protocol to start from: {', '.join(PRESETS)} (default: demo with the demo model, else book); or the book's "
        f"bonus experiments, row by row: {', '.join(SUITES)}",
        "NAME",
    )
    rows: str | None = flag(
        None, "--rows", "rows of the preset bonus or imdb, such as 1,3,16 (default: all)", "LIST"
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    tuning: TuningSettings = field(default_factory=TuningSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    launch: LaunchSettings = field(default_factory=LaunchSettings)
    sequential: SequentialSettings = field(default_factory=SequentialSettings)
    output: OutputSettings = field(default_factory=OutputSettings)
    report: ReportSettings = field(default_factory=ReportSettings)
    command: str = ""  # as it was typed, for the report

    TITLES: ClassVar[dict[str, str]] = {
        "model": "model",
        "data": "data",
        "training": "protocol (defaults: the preset's)",
        "tuning": "tuning (on validation messages; test messages are never touched)",
        "engine": "device and speed (what is left out changes no number)",
        "launch": "where runs happen",
        "sequential": "as many seeds as it takes",
        "output": "results",
        "report": "what the report is asked",
    }

    def __post_init__(self) -> None:
        if self.rows is not None and self.preset not in SUITES:
            raise InputError(
                f"--rows {self.rows} needs a preset that has rows: --preset {' or '.join(SUITES)}"
            )
        self.sequential.check(self.strategies, self.seeds)
        if self.launch.shard is not None:
            self._check_shard("/".join(map(str, self.launch.shard)))
        if self.engine.isolate and self.launch.launcher == "ray":
            raise InputError("--isolate is of this machine; leave out either it or --launcher ray")
        if self.launch.launcher == "ray" and not re.fullmatch("auto|cpu|cuda", self.engine.device):
            raise InputError(
                f"--device {self.engine.device}: a cluster gives each run its own GPU; use cuda, cpu or auto"
            )

    def _check_shard(self, shard: str) -> None:
        """Shards divide runs, so each must know all of them."""
        if self.tuning.any:
            raise InputError(
                "--shard: every shard would try all settings itself; tune without it and give what was chosen by --set"
            )
        if self.sequential.until_settled:
            raise InputError("--shard divides runs that are known; leave out either it or --until-settled")
        if self.seeds is None:
            raise InputError(
                f"--shard {shard} needs --seeds, so that every shard divides the same runs, as in --seeds 123"
            )

    @classmethod
    def sections(cls) -> dict[str, type]:
        """Name -> dataclass of every section, in the order of --help."""
        kinds = {each.name: each.default_factory for each in fields(cls)}
        return {name: kinds[name] for name in cls.TITLES}  # type: ignore[misc]  # a class is its own factory

    @classmethod
    def of(cls, given: Mapping[str, Any], command: str = "") -> "Experiment":
        """The experiment of some flags by key ("weights_dir"), as texts or as values; a preset fills the others.

        Raises:
            InputError: an unknown key, or a value that cannot be run.
        """
        values = {**choose_preset(given.get("preset", "book")), **given}
        unknown = sorted(set(values) - set(cls.keys()))
        if unknown:
            raise InputError(f"there is no setting {unknown[0]!r}; {did_you_mean(unknown[0], cls.keys())}")
        sections = {name: kind(**read_section(kind, values)) for name, kind in cls.sections().items()}
        own = read_section(cls, values)
        own["strategies"] = strategy_labels(own.get("strategies"), own.get("plugins", ()))
        return cls(**own, **sections, command=command)

    def given(self) -> dict[str, Any]:
        """What :meth:`of` makes an equal experiment of, as values that JSON knows."""
        parts = (self, *(getattr(self, name) for name in self.sections()))
        found = {key: value for part in parts for key, value in given_in(part).items()}
        return found | {"seeds": ",".join(map(str, self.seeds))} if self.seeds else found

    @classmethod
    def keys(cls) -> list[str]:
        """The key of every flag."""
        return [
            key
            for section in (cls, *cls.sections().values())
            for _, each in flags_of(section)
            for key in each.keys
        ]
