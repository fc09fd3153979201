"""From turns to ratios, and what is written: benchmark.json, .csv, .md and .png."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.experiments.benchmark.contender import Task, Turn
from headtohead.experiments.benchmark.measure import BOOK_LAST_REAL, CONTENDERS, GEMM, Measurements
from headtohead.experiments.environment import describe_environment
from headtohead.experiments.plots import BLUE, DPI, GREY, INK, STYLE
from headtohead.experiments.wording import short_bytes, short_seconds

SCHEMA_VERSION = 2
TEMPLATES = Path(__file__).parent.parent / "templates"
# Whose time and whose losses the others' are held against, the latter per protocol: the first that is there.
BASELINES = ("book", "transformers_dynamic")
LOSSES_OF = {"last": ("book",), "last_real": (BOOK_LAST_REAL, "transformers_dynamic")}
TEXTS = {"strategy", "contender", "trouble", "not_compared", "losses", "round", "evaluates_once"}


# --- numbers ---------------------------------------------------------------------------------------------------


def per_turn(found: Measurements, batch_size: int) -> pd.DataFrame:
    """A row per turn: what it measured, and a whole run composed of its parts, held against the baseline's.

    Added columns, seconds: ``parts`` (steps and evaluations), ``whole`` (with the prefix), ``whole_from_disk``,
    ``baseline`` (the other's whole run in the same round); ``ratio`` of that to ``whole``, so above 1 is faster.
    """
    turns = pd.DataFrame([asdict(turn) for turn in found.turns])
    numbers = turns.columns.difference(list(TEXTS))
    turns[numbers] = turns[numbers].astype(float)
    for name in ("operations", "from_disk_seconds"):  # measured in one round
        turns[name] = turns.groupby(["strategy", "contender"])[name].transform("max")
    turns["position"] = [CONTENDERS[name].position for name in turns.contender]
    work = [found.work[position] for position in turns.position]
    turns["steps"] = [each.steps for each in work]
    turns["evaluation_batches"] = [
        each.evaluation_rows / batch_size if once else float(each.evaluation_batches)
        for each, once in zip(work, turns.evaluates_once, strict=True)
    ]
    turns["parts"] = (
        turns.steps * turns.step_seconds
        + turns.evaluation_batches * turns.evaluation_seconds
        + [each.loop_seconds for each in work]
    )
    turns["whole"] = turns.parts + turns.prefix_seconds.fillna(0.0)
    turns["whole_from_disk"] = turns.parts + turns.from_disk_seconds
    turns["gemm_fraction"] = turns.operations / turns.step_seconds / turns.gemm_speed
    turns["prefix_gemm_fraction"] = turns.prefix_operations / turns.prefix_seconds / turns.gemm_speed
    turns["loss_difference"] = _loss_differences(found.turns)
    return _against_baseline(turns)


def _against_baseline(turns: pd.DataFrame) -> pd.DataFrame:
    """Ratios are taken within a round."""
    keys = pd.MultiIndex.from_frame(turns[["strategy", "round"]])

    def whole_of(contender: str) -> Any:
        rows = turns[(turns.contender == contender) & turns.whole.notna()]
        return rows.set_index(["strategy", "round"]).whole.reindex(keys).to_numpy()

    timed = set(turns.contender[turns.whole.notna()])
    name = next((each for each in BASELINES if each in timed), None)
    turns["compared_with"] = name
    turns["baseline"] = whole_of(name) if name else float("nan")
    turns["ratio"] = turns.baseline / turns.whole
    turns["ratio_from_disk"] = turns.baseline / turns.whole_from_disk
    turns["ratio_dynamic"] = (whole_of("transformers_dynamic") / turns.whole).where(
        turns.position == "last_real"
    )
    return turns


def summarise(found: Measurements, batch_size: int) -> pd.DataFrame:
    """One row per strategy and contender: medians over rounds; NaN is unknown."""
    turns = per_turn(found, batch_size)
    grouped = turns.groupby(["strategy", "contender"])
    rows = grouped.median(numeric_only=True).drop(columns=["round", "evaluates_once"])
    rows["ratio_low"], rows["ratio_high"] = grouped.ratio.min(), grouped.ratio.max()
    rows["loss_difference"] = grouped.loss_difference.max()
    for name in ("position", "trouble", "not_compared", "compared_with"):
        rows[name] = grouped[name].first()
    timed = [contender for contender in CONTENDERS.values() if contender.timed]
    order = [(strategy, each.name) for strategy in turns.strategy.unique() for each in timed]
    rows = rows.loc[[key for key in order if key in rows.index]].reset_index()
    return rows.assign(title=[CONTENDERS[name].title for name in rows.contender])


def _loss_differences(turns: Sequence[Turn]) -> list[float]:
    """The largest over the compared steps, against the book's model under the same protocol."""
    fit = [turn for turn in turns if turn.losses and turn.not_compared is None]
    comparable = {(turn.strategy, turn.contender): turn.losses for turn in fit}

    def difference(turn: Turn) -> float:
        names = LOSSES_OF[CONTENDERS[turn.contender].position]
        references = [comparable[key] for name in names if (key := (turn.strategy, name)) in comparable]
        if not references or not turn.losses or turn.not_compared or turn.contender == names[0]:
            return float("nan")
        return float(np.abs(np.subtract(turn.losses, references[0])).max())

    return [difference(turn) for turn in turns]


def share_prefix(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Strategies that leave something frozen in front, done by one engine: the longest prefix, paid once."""
    together = []
    for title, own in rows[rows.prefix_seconds.notna() & rows.baseline.notna()].groupby("title", sort=False):
        if len(own) > 1:
            seconds, baseline = own.prefix_seconds.max() + own.parts.sum(), own.baseline.sum()
            together.append(
                {"strategies": list(own.strategy), "contender": title, "compared_with": own.compared_with.iloc[0],
                 "seconds": seconds, "baseline_seconds": baseline, "ratio": baseline / seconds}
            )  # fmt: skip
    return together


def describe(command: str, task: Task, found: Measurements) -> dict[str, Any]:
    """Everything else that a reader needs to judge the numbers, or to measure them again."""
    environment = describe_environment(task.device)
    for name in ("llms-from-scratch", "transformers", "peft"):
        try:
            environment[name] = version(name)
        except PackageNotFoundError:
            environment[name] = "not installed"
    dataset, pretrained = task.dataset, task.pretrained
    processor = f"{environment.get('processor', 'CPU')}, {environment['threads']} threads"
    speeds = pd.Series([turn.gemm_speed for turn in found.turns], dtype=float)
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "where": environment.get("accelerator") or processor,
        "environment": environment,
        "model": {"name": pretrained.name, "source": pretrained.source, "sha256": pretrained.sha256},
        "dataset": {
            "name": dataset.name, "source": dataset.source, "sha256": dataset.sha256, "rows": len(dataset.train),
            "max_length": dataset.max_length, "distinct": len(distinct_sequences(dataset, task.config)),
        },
        "train_config": asdict(task.config),
        "settings": asdict(task.settings),
        "work": {position: asdict(work) for position, work in found.work.items()},
        "gemm": {"shape": list(GEMM), "operations_per_second": speeds.median()},
    }  # fmt: skip


# --- files -----------------------------------------------------------------------------------------------------


def write_all(command: str, task: Task, found: Measurements, stem: Path) -> tuple[str, list[Path]]:
    """Write ``stem``.json, .csv, .md and .png; returns the page and the files' paths."""
    rows, facts = summarise(found, task.config.batch_size), describe(command, task, found)
    facts["one_experiment"] = share_prefix(rows)
    facts["several_seeds"] = [asdict(each) | {"cost": each.cost} for each in found.several]
    endings = ("json", "csv", "md", "png")
    json_file, csv_file, page_file, plot = paths = [stem.with_name(f"{stem.name}.{end}") for end in endings]
    records = json.loads(rows.to_json(orient="records"))
    page = write_page(facts, rows, plot.name)
    write_text_atomic(
        json_file, json.dumps({"schema_version": SCHEMA_VERSION, **facts, "rows": records}, indent=2)
    )
    write_text_atomic(csv_file, rows.to_csv(index=False))
    write_text_atomic(page_file, page)
    write_bytes_atomic(plot, draw(facts, rows))
    return page, paths


def _if_known(write: Callable[[float], str]) -> Callable[[Any], str]:
    return lambda value: "" if value is None or pd.isna(value) else write(float(value))


def _times(value: float) -> str:
    """0.953 -> "0.95x", 9.13 -> "9.1x", 1234 -> "1,234x"."""
    return f"{value:,.0f}x" if value >= 99.5 else f"{value:.1f}x" if value >= 9.95 else f"{value:.2f}x"


FILTERS = {
    "times": _if_known(_times),
    "seconds": _if_known(short_seconds),
    "milliseconds": _if_known(
        lambda value: f"{1e3 * value:,.2f} ms" if value < 0.01 else f"{1e3 * value:,.0f} ms"
    ),
    "bytes": _if_known(short_bytes),
    "percent": _if_known(lambda value: f"{100 * value:.0f} %"),
    "giga": _if_known(lambda value: f"{value / 1e9:,.3g}"),
    "power": _if_known(lambda value: f"{value:.1e}"),
}


def write_page(facts: dict[str, Any], rows: pd.DataFrame, plot: str) -> str:
    """The tables, ratios first."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= FILTERS
    known = rows.astype(object).where(rows.notna(), None).to_dict("records")
    baseline = next((row["compared_with"] for row in known if row["compared_with"]), None)
    return environment.get_template("benchmark.md.j2").render(
        facts,
        rows=known,
        plot=plot,
        titles={row["contender"]: row["title"] for row in known},
        strategies=list(rows.strategy.unique()),
        baseline=CONTENDERS[baseline].title if baseline else None,
    )


# --- plot ------------------------------------------------------------------------------------------------------


def draw(facts: dict[str, Any], rows: pd.DataFrame) -> bytes:
    """Bars of whole-run time on a log axis, one panel per strategy, each bar with its ratio, as PNG."""
    disk = rows[rows.whole_from_disk.notna()].assign(
        title=lambda table: table.title + ", prefix on disk",
        whole=lambda table: table.whole_from_disk,
        ratio=lambda table: table.ratio_from_disk,
    )
    bars = pd.concat([rows[rows.whole.notna()], disk]).sort_index(kind="stable")
    panels = list(bars.groupby("strategy", sort=False))
    heights = [len(table) + 1.2 for _, table in panels] or [1.0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 0.9 + 0.29 * sum(heights)), layout="constrained")
        title = f"One whole run, {facts['model']['name']} on {facts['dataset']['name']}; {facts['where']}"
        figure.suptitle(title, fontsize=10.5, x=0.01, ha="left")
        axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
        axes[-1].set(xscale="log", xlabel="seconds of one whole run (log scale)")
        for each, (strategy, table) in zip(axes, panels, strict=False):
            _draw_panel(each, str(strategy), table)
        if len(bars):
            axes[-1].set_xlim(bars.whole.min() / 2, bars.whole.max() * 20)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    return picture.getvalue()


def _draw_panel(axes: Any, strategy: str, table: pd.DataFrame) -> None:
    places: Sequence[int] = range(len(table))
    colors = [BLUE if name.startswith("ours") else GREY for name in table.contender]
    drawn = axes.barh(places, table.whole, color=colors, height=0.72)
    for patch, position in zip(drawn, table.position, strict=True):
        patch.set_alpha(0.55 if position == "last_real" else 1.0)
    ratios = table.ratio.where(table.contender != table.compared_with)
    labels = [
        "  ·  ".join(filter(None, (short_seconds(seconds), FILTERS["times"](ratio))))
        for seconds, ratio in zip(table.whole, ratios, strict=True)
    ]
    axes.bar_label(drawn, labels, padding=4, fontsize=8.5, color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:g}"))
    axes.set_yticks(places, table.title, fontsize=9)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_title(strategy)
