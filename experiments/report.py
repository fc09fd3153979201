"""The report of an experiment: a pure function of its folder (experiment.json, the records, data/test.csv)."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.experiments import wording
from headtohead.experiments.metrics import metrics_of
from headtohead.experiments.plots import PLOT_FILES, Plot, draw_all
from headtohead.experiments.record import to_json
from headtohead.experiments.statistics import Spread, StrategySummary, Summary, summary_frame
from headtohead.experiments.wording import UNKNOWN, short_bytes, short_seconds


@dataclass(frozen=True)
class Failure:
    """A failed run: which one, and its error in full."""

    label: str
    seed: int
    error: str

    @property
    def first_line(self) -> str:
        return self.error.strip().splitlines()[0] if self.error.strip() else self.error


@dataclass(frozen=True)
class Cell:
    """One cell: its number, and in smaller type the spread over the seeds or a sign."""

    main: str
    small: str = ""
    leads: bool = False  # a test accuracy not distinguishable from the best

    def __str__(self) -> str:
        return f"{self.main} {self.small}".strip()


@dataclass(frozen=True)
class Line:
    """One strategy in the comparison table: the cells after its name, and what must be seen beside them."""

    label: str
    cells: list[Cell]
    failures: list[Failure]
    missing_seeds: list[int]
    warnings: list[str]
    about: StrategySummary = field(repr=False)

    @property
    def trained(self) -> str:
        """What is trained, in one sentence: the first line of the strategy's description."""
        return self.about.description.strip().split("\n")[0]


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix, summed over the finished runs: rows are the true classes."""

    label: str
    counts: list[list[int]]

    def shade(self, true: int, said: int) -> float:
        """Share of the true class ``true`` that was called ``said``, 0 to 1."""
        total = sum(self.counts[true])
        return self.counts[true][said] / total if total else 0.0


def write_report(summary: Summary) -> dict[str, Path]:
    """Write plots/*.png, summary.csv, results.json, report.md and report.html into an experiment's folder.

    Returns the paths by name ("report.html", "plots/loss.png", ...). Each file is written whole or not at all.
    """
    directory = summary.experiment.directory
    plots = draw_all(summary)
    for stale in set(PLOT_FILES) - {plot.name for plot in plots}:
        (directory / "plots" / stale).unlink(missing_ok=True)
    texts = {
        "summary.csv": summary_frame(summary).to_csv(index=False),
        "results.json": to_json([asdict(record) for record in summary.experiment.records]),
        "report.md": render(summary, plots, "report.md.j2"),
        "report.html": render(summary, plots, "report.html.j2"),
    }
    for plot in plots:
        write_bytes_atomic(directory / "plots" / plot.name, plot.png)
    for name, text in texts.items():
        write_text_atomic(directory / name, text)
    return {name: directory / name for name in [*texts, *(f"plots/{plot.name}" for plot in plots)]}


def render(summary: Summary, plots: list[Plot], template: str) -> str:
    """The report as text; everything that comes from a record is escaped for HTML or for Markdown."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "md": escape_markdown,
        "fenced": fenced,
        "breakable": _breakable,
        "base64": _base64,
    }
    return environment.get_template(template).render(_contents(summary, plots))


def _contents(summary: Summary, plots: list[Plot]) -> dict[str, Any]:
    about = summary.experiment.description
    groups = [
        (family, [_line(summary, row) for row in summary.rows if row.family == family])
        for family in summary.families
    ]
    lines = [line for _, members in groups for line in members]
    return {
        "name": about["name"],
        "created_at": about["created_at"],
        "command": about["command"],
        "demo": wording.demo_banner(summary),
        "answer": wording.answer(summary),
        "protocol": wording.protocol(summary),
        "certainty": wording.certainty(summary),
        "headings": headings(summary),
        "groups": groups,
        "lines": lines,
        "show_families": len(summary.families) > 1,
        "marks": _marks(summary),
        "legend": _legend(summary),
        "failures": [failure for line in lines for failure in line.failures],
        "confusions": [found for row in summary.finished if (found := _confusion(row))],
        "classes": about["dataset"]["label_names"],
        "several_seeds": summary.several_seeds,
        "plots": plots,
        "facts": _facts(about),
    }


# --- the comparison table -------------------------------------------------------------------------------


def headings(summary: Summary) -> list[str]:
    """The columns after the strategy's name; the prefix time only where some run has one."""
    prefix = ["frozen prefix"] if _has_prefix(summary) else []
    f1 = f"F1 {metrics_of(summary.experiment.description['dataset']['label_names'])} %"
    return [
        "test acc. %", f"{wording.LEVEL_WORDS} interval", "trained parameters", "% of all", "learning rate",
        "train acc. %", "valid. acc. %", f1, "train time", *prefix, "evaluation", "peak memory", "size on disk",
    ]  # fmt: skip


def _line(summary: Summary, row: StrategySummary) -> Line:
    return Line(
        label=row.label,
        cells=_cells(summary, row) if row.runs else [],
        failures=[Failure(run.label, run.seed, run.error or "no reason was recorded") for run in row.failed],
        missing_seeds=list(row.missing_seeds),
        warnings=row.collected("warnings"),
        about=row,
    )


def _cells(summary: Summary, row: StrategySummary) -> list[Cell]:
    leads = bool(summary.comparisons) and row.label in summary.leaders
    prefix = ["prefix_seconds"] if _has_prefix(summary) else []
    mark = "‡" if row.timed_in_groups else ""
    memory = row.timing("peak_memory_bytes")
    return [
        replace(_spread_cell(row.spread("test_accuracy"), wording.percent), leads=leads),
        Cell(wording.interval_words(row)),
        Cell(wording.count(row.trainable_params)),
        Cell(wording.share_words(row)),
        Cell(wording.rate(row.learning_rate)),
        *(
            _spread_cell(row.spread(f"{split}_accuracy"), wording.percent)
            for split in ("train", "validation")
        ),
        _spread_cell(row.spread("test_f1"), wording.percent),
        *(
            _spread_cell(row.timing(name), short_seconds, mark)
            for name in ("train_seconds", *prefix, "eval_seconds")
        ),
        Cell(short_bytes(memory.mean), mark) if memory else Cell(UNKNOWN),
        Cell(short_bytes(row.constant("classifier_bytes"))),
    ]


def _spread_cell(spread: Spread | None, written: Callable[[float], str], mark: str = "") -> Cell:
    if spread is None:
        return Cell(UNKNOWN)
    around = f"± {written(spread.sd)} ({spread.n})" if spread.sd is not None else ""
    return Cell(written(spread.mean), f"{around} {mark}".strip())


def _has_prefix(summary: Summary) -> bool:
    return any(run.prefix_seconds is not None for row in summary.rows for run in row.runs)


def _marks(summary: Summary) -> dict[str, str]:
    """The sign beside a leading test accuracy and what it says; empty where nothing may be marked."""
    if not summary.comparisons:
        return {}
    if summary.clear_winner:
        return {"sign": "★", "says": "better than every other strategy beyond chance"}
    return {"sign": "≈", "says": "not distinguishable from the best"}


def _legend(summary: Summary) -> list[str]:
    sentences = []
    if summary.comparisons:
        marks = _marks(summary)
        sentences.append(f"{marks['sign']} {marks['says']} (paired test, corrected for all pairs).")
    if summary.several_seeds:
        sentences.append("Mean ± standard deviation over the seeds (n runs).")
    if any(row.timed_in_groups for row in summary.rows):
        sentences.append("‡ Several seeds were timed together; not comparable with runs timed alone.")
    sentences.append(
        "Times and memory are of this machine, and carry no mark: they were not repeated under control."
    )
    return sentences


# --- the rest -------------------------------------------------------------------------------------------


def _confusion(row: StrategySummary) -> Confusion | None:
    found = [run.test_confusion for run in row.runs if run.test_confusion is not None]
    return Confusion(row.label, np.sum(found, axis=0).tolist()) if found else None


def _facts(about: dict[str, Any]) -> dict[str, list[tuple[str, str]]]:
    """What is needed to do it again: settings, environment and hashes, each a list of (name, value)."""
    return {
        "Settings": _flat(about["train_config"]),
        "Model": _flat(about["model"]),
        "Data": _flat(about["dataset"]),
        "Environment": _flat(about["environment"]),
    }


def _flat(content: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) pairs."""
    pairs: list[tuple[str, str]] = []
    for name, value in content.items():
        if isinstance(value, dict):
            pairs += _flat(value, f"{before}{name}.")
        else:
            pairs.append(
                (
                    before + str(name),
                    value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),
                )
            )
    return pairs


def escape_markdown(text: object) -> str:
    """``text`` on one line, so that it says itself in a Markdown table and starts no markup and no HTML."""
    line = " ".join(str(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = re.sub(r"([\\`*|\[\]~])", r"\\\1", line)
    return re.sub(
        r"(?<![^\W_])_|_(?![^\W_])", r"\\_", line
    )  # underscores inside a word are plain in Markdown


def fenced(text: str) -> str:
    """``text`` as a fenced block whose fence is longer than any run of backticks inside it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.rstrip()}\n{fence}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _breakable(label: str) -> Markup:
    """A label for HTML, escaped, that may be wrapped where its words end."""
    return Markup(re.sub(r"([_@+=.])", r"\1<wbr>", str(escape(label))))
