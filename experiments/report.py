"""The report of an experiment: a pure function of its summary, and so of its folder."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.experiments import wording
from headtohead.experiments.advice_words import advice
from headtohead.experiments.columns import Cell, Column, Place, legend, shown_in, summary_frame
from headtohead.experiments.figures import Figures, figures_of
from headtohead.experiments.inference import LEVEL
from headtohead.experiments.page.contents import page_contents
from headtohead.experiments.plots import PLOT_FILES, Plot, draw_all
from headtohead.experiments.record import to_json
from headtohead.experiments.sections import Section, all_sections
from headtohead.experiments.statistics import StrategySummary, Summary

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"[=+\-@\t\r]")  # how a text begins that a spreadsheet computes


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
    """Write plots/*.png, summary.csv, results.json, report.md and report.html into the experiment's folder.

    Returns the paths by name ("report.html", "plots/loss.png", ...). Each file is written whole or not at all.
    """
    directory = summary.experiment.directory
    plots = draw_all(summary)
    sections = all_sections(summary)
    pictures = [*plots, *(plot for section in sections for plot in section.plots)]
    for stale in set(PLOT_FILES) - {plot.name for plot in plots}:
        (directory / "plots" / stale).unlink(missing_ok=True)
    figures = figures_of(summary)
    every = (*summary.experiment.records, *summary.experiment.aside)
    texts = {
        "summary.csv": harmless(summary_frame(summary)).to_csv(index=False),
        "results.json": to_json([asdict(record) for record in every]),
        "report.md": render(summary, plots, sections, figures, "report.md"),
        "report.html": render(summary, plots, sections, figures, "report.html"),
    }
    drawn = {plot.name: plot.png for plot in pictures}
    if "pdf" in summary.experiment.asked.plots:
        pdfs = {Path(plot.name).with_suffix(".pdf").name: plot.pdf() for plot in pictures}
        drawn |= {name: content for name, content in pdfs.items() if content is not None}
    for name, content in drawn.items():
        write_bytes_atomic(directory / "plots" / name, content)
    for name, text in texts.items():
        write_text_atomic(directory / name, text)
    return {name: directory / name for name in [*texts, *(f"plots/{name}" for name in drawn)]}


def render(
    summary: Summary, plots: list[Plot], sections: list[Section], figures: Figures, place: Place
) -> str:
    """The report as text; everything that comes from a record is escaped for HTML or for Markdown."""
    contents = _contents(summary, plots, figures, place) | {"sections": sections}
    if place == "report.html":
        contents |= page_contents(summary, figures, contents)
    return _template(place).render(contents)


@cache
def _template(place: Place) -> Template:
    """Compiling one takes longer than filling it in."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=place == "report.html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "md": escape_markdown,
        "fenced": fenced,
        "breakable": _breakable,
        "dotted": _dotted,
        "base64": _base64,
    }
    return environment.get_template(f"{place}.j2")


def _contents(summary: Summary, plots: list[Plot], figures: Figures, place: Place) -> dict[str, Any]:
    about = summary.experiment.description
    table = _table(summary, place)
    lines = [line for _, members in table["groups"] for line in members]
    return table | {
        "name": about["name"],
        "created_at": about["created_at"],
        "command": about["command"],
        "demo": wording.demo_banner(summary),
        "others": [_table(other, place) for other in summary.others],
        "protocol": wording.protocol(summary),
        "certainty": wording.certainty(summary),
        "lines": lines,
        "failures": [failure for line in lines for failure in line.failures],
        "confusions": [found for row in summary.finished if (found := _confusion(row))],
        "classes": about["dataset"]["label_names"],
        "several_seeds": summary.several_seeds,
        "plots": plots,
        "matrix": figures.matrix,
        "cells": figures.matrix.cells() if figures.matrix else {},
        "level": 1 - LEVEL,
        "p_words": wording.p_words,
        "points": wording.points,
        "pairs_legend": wording.PAIRS,
        "citation": wording.CITATION,
        "facts": _facts(about),
    }


# --- the comparison table -------------------------------------------------------------------------------


def _table(summary: Summary, place: Place) -> dict[str, Any]:
    """One protocol's comparison: what it says, and its table."""
    columns = shown_in(place, summary)
    chooser = shown_in("chooser", summary) if place == "report.html" else []
    return {
        "title": wording.protocol_title(summary),
        "answer": wording.answer(summary),
        "advice": advice(summary),
        "columns": columns,
        "chooser": chooser,
        "groups": _lines(summary, place, [*columns, *chooser]),
        "show_families": len(summary.families) > 1,
        "legend": _legend(summary, columns),
    }


def _lines(summary: Summary, place: Place, columns: Sequence[Column]) -> list[tuple[str, list[Line]]]:
    """The table's lines by family."""
    return [
        (family, [_line(summary, row, place, columns) for row in summary.rows if row.family == family])
        for family in summary.families
    ]


def _line(summary: Summary, row: StrategySummary, place: Place, columns: Sequence[Column]) -> Line:
    return Line(
        label=row.label,
        cells=[column.cell(summary, row, place) for column in columns] if row.runs else [],
        failures=[Failure(run.label, run.seed, run.error or "no reason was recorded") for run in row.failed],
        missing_seeds=list(row.missing_seeds),
        warnings=row.collected("warnings"),
        about=row,
    )


def _legend(summary: Summary, columns: Sequence[Column]) -> list[str]:
    return [
        *legend(summary, columns),
        "↑ higher is better, ↓ lower is better.",
        "Times and memory are of this machine, and carry no mark: they were not repeated under control.",
    ]


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


def harmless(frame: "pd.DataFrame") -> "pd.DataFrame":
    """``frame`` with no text that a spreadsheet would take for a formula: an apostrophe stands before such a one.

    Source: OWASP, CSV Injection.
    """
    return frame.map(lambda value: f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _breakable(label: str) -> Markup:
    """A label for HTML, escaped, that may be wrapped before its signs and behind underscores and equals signs."""
    return Markup(re.sub(r"(?=[@+])|(?<=[_=])", "<wbr>", str(escape(label))))


def _dotted(name: str) -> Markup:
    """A name such as data.rows.train for HTML, escaped, that may be wrapped behind its dots and underscores."""
    return Markup(re.sub(r"(?<=[._])", "<wbr>", str(escape(name))))
