"""A column is declared once and then stands in the report, the terminal and the file."""

import re
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from headtohead.experiments import columns, report
from headtohead.experiments.columns import COLUMNS, Column, Mark, accuracy, shown_in, summary_frame
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.report import write_report
from headtohead.experiments.statistics import Spread, Summary, summarise
from headtohead.experiments.terminal import ComparisonTable
from tests.experiments.synthetic import FOUR, write_synthetic

LETTERS = Column(
    key="label_letters",
    name="letters <b>",
    unit="|",
    of=lambda _, row: Spread(len(row.label), 0.5, 2),
    written=lambda value: f"{value:.1f} zz",
    better="higher",
    about="letters of the label",
    spreads=True,
    marks=(Mark("§", "has an underscore", lambda _, row: "_" in row.label),),
    rank=1,
)


def summary_of(directory: Path, *args: object, **options: object) -> Summary:
    return summarise(load_experiment(write_synthetic(directory, *args, **options)))  # type: ignore[arg-type]


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_all", lambda summary: [])


def shown_by_terminal(summary: Summary, width: int) -> str:
    console = Console(width=width, record=True, file=StringIO())
    console.print(ComparisonTable(summary))
    return console.export_text()


def test_one_declaration_reaches_every_place(
    tmp_path: Path, no_plots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "COLUMNS", (*COLUMNS, LETTERS))
    summary = summary_of(tmp_path / "x")
    paths = write_report(summary)
    text, page = paths["report.md"].read_text(), paths["report.html"].read_text()
    assert "| letters &lt;b&gt; \\| ↑ |" in text and "| 10.0 zz ± 0.5 zz (2) § |" in text
    assert "§ has an underscore." in text
    assert 'title="letters of the label; higher is better">letters &lt;b&gt;&nbsp;|&nbsp;↑</th>' in page
    assert re.search(r'data-value="10(.0)?">10.0 zz §<small>± 0.5 zz \(2\)</small>', page)
    assert "§ has an underscore." in page
    frame = pd.read_csv(paths["summary.csv"]).set_index("label")
    assert frame.loc["last_block", "label_letters"] == 10
    assert frame.loc["last_block", "label_letters_sd"] == 0.5
    terminal = shown_by_terminal(summary, 100)
    assert "10.0 zz §" in terminal and "§ has an underscore." in terminal
    assert "letters" in terminal.partition("10.0")[0]


def test_keys_are_named_once_and_every_rank_is_meant() -> None:
    keys = [column.key for column in COLUMNS]
    assert len(set(keys)) == len(keys)
    for column in COLUMNS:
        assert column.name or column.shown == columns.FILE, column.key
    assert [column.key for column in COLUMNS if "terminal" in column.shown and column.rank == 0] == [
        "test_accuracy"
    ]


def test_a_column_of_some_is_left_out_where_none_has_it(tmp_path: Path) -> None:
    with_prefix, without = summary_of(tmp_path / "x"), summary_of(tmp_path / "y", FOUR[2:])
    for place in ("report.md", "report.html", "terminal"):
        assert "prefix_seconds" in [column.key for column in shown_in(place, with_prefix)]
        assert "prefix_seconds" not in [column.key for column in shown_in(place, without)]
    assert "prefix_seconds" in summary_frame(without).columns  # the file has the same columns always


def test_the_file_has_the_units_of_the_records(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", seeds=(1, 2, 3))
    line = summary_frame(summary).set_index("label").loc["lora"]
    row = next(row for row in summary.rows if row.label == "lora")
    assert line["test_accuracy"] == pytest.approx(row.test_accuracy)
    assert line["test_accuracy_sd"] == pytest.approx(row.spread("test_accuracy").sd)
    assert (line["test_accuracy_low"], line["test_accuracy_high"]) == pytest.approx(row.interval)
    assert line["peak_memory_bytes"] == pytest.approx(row.timing("peak_memory_bytes").mean)
    assert line["runs_ok"] == 3 and line["trainable_params"] == 2_668_066


def test_a_deviation_has_no_more_digits_than_its_mean(tmp_path: Path) -> None:
    (row, *_) = (summary := summary_of(tmp_path / "x", seeds=(1, 2))).rows
    seconds = next(column for column in COLUMNS if column.key == "prefix_seconds")
    assert str(seconds.cell(summary, row, "report.md")) == "1.2 s ± 0.0 s (2)"


def test_an_unknown_value_is_a_dash(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x")
    column = accuracy("test_accuracy", "x")
    unknown = Column(key="none", name="none", of=lambda *_: None)
    assert str(unknown.cell(summary, summary.rows[0], "terminal")) == "–"
    assert column.cell(summary, summary.rows[0], "terminal").number == summary.rows[0].test_accuracy
