"""Runs the rows of a suite (``--preset bonus``, ``--preset imdb``): experiments of the usual kind, and one table.

Rows that differ in nothing but the strategy are one experiment, which shares what it computes once. A row that this
machine cannot hold, or whose weights it cannot get, is left out with the reason; nothing stands in for its figure.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headtohead.core.config import CONFIGS, DEMO_MODEL, PUBLISHED_SIZES
from headtohead.core.errors import InputError, Unavailable
from headtohead.experiments.bonus_rows import SUITES, Row, Suite
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.seeds import DEFAULT_SEED

if TYPE_CHECKING:
    from headtohead.experiments.statistics import StrategySummary, Summary
    from headtohead.experiments.watch import Watcher

COPIES = {
    "frozen": 2,
    "trained": 5,
}  # of the weights: the model and what it is built from; gradient and two moments
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Result:
    """What became of a row.

    Attributes:
        found: its strategy in the report of its experiment; None where it was not run.
        why_not: the reason, where it was not run or its run failed.
        real: the published weights on the published data were used, so the published figure may stand beside ours.
        folder: of its experiment.
        failed: it was run, and its run ended with an error.
        model: the name of the weights that were used.
    """

    row: Row
    found: "StrategySummary | None" = None
    why_not: str = ""
    real: bool = False
    folder: Path | None = None
    failed: bool = False
    model: str = ""


def read_rows(suite: Suite, text: object) -> tuple[Row, ...]:
    """``"1,3,16"`` -> these rows; all without a text.

    Raises:
        InputError: no such row.
    """
    if text is None:
        return suite.rows
    numbers = {str(row.number): row for row in suite.rows}
    words = [word.strip() for word in str(text).split(",")]
    wrong = next((word for word in words if word not in numbers), None)
    if wrong is not None:
        raise InputError(
            f"--rows {text}: there is no row {wrong!r}; the preset {suite.name} has the rows 1 to {len(suite.rows)}, "
            "as in --rows 1,3"
        )
    return tuple(numbers[word] for word in dict.fromkeys(words))


def run_suite(given: Mapping[str, Any], command: str, watch: "Watcher") -> list[Result]:
    """Do the rows that were asked for and write ``<results-dir>/<name>.md`` and ``.csv``.

    Args:
        given: the flags that were given, by key, ``preset`` and perhaps ``rows`` among them.

    Raises:
        InputError: flags that the rows set themselves, or that cannot be run; no row could be run.
    """
    from headtohead.experiments.bonus_table import write_table

    suite = SUITES[given["preset"]]
    rows = read_rows(suite, given.get("rows"))
    own = sorted({key for row in suite.rows for key in row.settings} | set(suite.settings) | {"strategies"})
    taken = [key for key in own if key in given]
    if taken:
        flag = taken[0].replace("_", "-")
        raise InputError(f"--preset {suite.name} sets --{flag} itself, row by row; leave it out")
    results: dict[int, Result] = {}
    for group in _groups(suite, rows, given):
        for result in _run_group(suite, group, given, command, watch):
            results[result.row.number] = result
    ordered = [results[row.number] for row in rows]
    if not any(result.found for result in ordered):
        raise InputError(f"no row could be run: {ordered[0].why_not}")
    write_table(suite, ordered, place_of(given))
    return ordered


def _groups(suite: Suite, rows: Sequence[Row], given: Mapping[str, Any]) -> list[list[Row]]:
    """Rows that differ in nothing but the strategy, together."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        key = json.dumps([_model(row, given), dict(row.settings)], sort_keys=True)
        groups.setdefault(key, []).append(row)
    return list(groups.values())


def _run_group(
    suite: Suite, rows: Sequence[Row], given: Mapping[str, Any], command: str, watch: "Watcher"
) -> Iterator[Result]:
    from headtohead.experiments import runner

    held = []
    for row in rows:
        why_not = too_large(row, given)
        if why_not:
            yield Result(row, why_not=why_not)
        else:
            held.append(row)
    if not held:
        return
    experiment = experiment_of(suite, held, given, command)
    try:
        summary = runner.compare(experiment, watch)
    except Unavailable as error:
        yield from (Result(row, why_not=str(error)) for row in held)
        return
    yield from (_result(suite, row, summary) for row in held)


def experiment_of(
    suite: Suite, rows: Sequence[Row], given: Mapping[str, Any], command: str = ""
) -> Experiment:
    """The experiment of rows that differ in nothing but the strategy."""
    asked = {key: value for key, value in given.items() if key not in ("rows", "preset")}
    own = {
        "preset": "demo" if asked.get("model") == DEMO_MODEL else "book",
        "seeds": str(DEFAULT_SEED),
        "data": suite.data,
        **asked,
        **suite.settings,
        **rows[0].settings,
        **_model(rows[0], given),
        "strategies": ",".join(dict.fromkeys(row.strategy for row in rows)),
        "name": _name(suite, rows[0], given),
    }
    if any(key in asked for key in ("train", "test")):
        del own["data"]
    return Experiment.of(own, command)


def _model(row: Row, given: Mapping[str, Any]) -> dict[str, str]:
    """The row's size, where the user named no one model for all rows."""
    return {} if one_model(given) else {"model": row.size}


def one_model(given: Mapping[str, Any]) -> bool:
    """Whether all rows run on the same weights: a model was named, or a folder that is a checkpoint itself."""
    if given.get("model") is not None:
        return True
    folder = given.get("weights_dir")
    return folder is not None and not any((Path(folder) / size).is_dir() for size in PUBLISHED_SIZES)


def _base(suite: Suite, given: Mapping[str, Any]) -> str:
    return str(given.get("name") or suite.name)


def _folder(given: Mapping[str, Any]) -> Path:
    return Path(given.get("results_dir", "results"))


def _name(suite: Suite, row: Row, given: Mapping[str, Any]) -> str:
    """An experiment's folder is of one model, so sizes and random weights have folders of their own."""
    parts = [_base(suite, given)]
    parts += [] if one_model(given) else [row.size]
    parts += ["random"] if row.settings.get("weights") == "random" else []
    return "-".join(parts)


def too_large(row: Row, given: Mapping[str, Any]) -> str:
    """Why this machine cannot hold a row's model while it trains; empty where it can, or where that is not known."""
    from headtohead.core.engine.prefix import available_memory

    config = CONFIGS.get(str(given.get("model") or ("" if one_model(given) else row.size)))
    if config is None or str(given.get("device", "cpu")).startswith("cuda"):
        return ""
    block = 12 * config.emb_dim**2 + 13 * config.emb_dim
    whole = (config.vocab_size + config.context_length) * config.emb_dim + config.n_layers * block
    trained = whole if row.strategy == "all_layers" else block
    needed = FLOAT * (COPIES["frozen"] * whole + (COPIES["trained"] - COPIES["frozen"]) * trained)
    free = available_memory()
    if needed <= free:
        return ""
    return f"needs about {needed / 2**30:.1f} GiB of memory for weights and optimizer, {free / 2**30:.1f} GiB are free"


def _result(suite: Suite, row: Row, summary: "Summary") -> Result:
    from headtohead.experiments.sections.published import is_real
    from headtohead.strategies import build_variants

    label = build_variants([row.strategy])[0].label
    found = next((each for each in summary.rows if each.label == label), None)
    folder = summary.experiment.directory
    if found is None or not found.runs:
        error = (
            found.failed[0].error if found is not None and found.failed else None
        ) or "it was interrupted"
        return Result(row, why_not=error, folder=folder, failed=True)
    about = summary.experiment.description
    real, model = is_real(suite, row, about), str(about["model"]["name"])
    return Result(row, found, real=real, folder=folder, model=model)


def place_of(given: Mapping[str, Any]) -> Path:
    """The table's path, without its ending."""
    return _folder(given) / _base(SUITES[given["preset"]], given)
