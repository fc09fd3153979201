"""A further section of the report stands in both reports, escaped, with its pictures among the report's files."""

from pathlib import Path

import pytest

from headtohead.experiments import report
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.plots import Plot
from headtohead.experiments.report import write_report
from headtohead.experiments.sections import Section, Table, all_sections
from headtohead.experiments.statistics import summarise
from tests.experiments.synthetic import FOUR, write_synthetic


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    table = Table(("strategy", "rate"), (("a|b", "1e-4"), ("<b>", "2e-4")), caption="Chosen.")
    picture = Plot("curve.png", "A curve", "What it shows.", b"picture")
    section = Section("chosen", "What was chosen", ("One <i>sentence</i>.",), (picture,), (table,))
    monkeypatch.setattr(report, "all_sections", lambda summary: [section])
    monkeypatch.setattr(report, "draw_all", lambda summary: [])
    return write_report(summarise(load_experiment(write_synthetic(tmp_path, FOUR))))


def test_a_section_stands_in_both_reports(pages: dict[str, Path]) -> None:
    page, markdown = pages["report.html"].read_text(), pages["report.md"].read_text()
    assert '<h2 id="chosen">What was chosen</h2>' in page
    assert "## What was chosen" in markdown
    assert "One &lt;i&gt;sentence&lt;/i&gt;." in page and "One &lt;i&gt;sentence&lt;/i&gt;." in markdown
    assert "| a\\|b | 1e-4 |" in markdown
    assert '<th scope="row">&lt;b&gt;</th><td>2e-4</td>' in page


def test_a_sections_pictures_are_files_of_the_report(pages: dict[str, Path]) -> None:
    assert pages["plots/curve.png"].read_bytes() == b"picture"


def test_every_section_has_its_own_name(tmp_path: Path) -> None:
    sections = all_sections(summarise(load_experiment(write_synthetic(tmp_path, FOUR))))
    assert len({section.key for section in sections}) == len(sections)
