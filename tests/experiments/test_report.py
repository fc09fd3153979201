"""The report says what the records say, marks only what it may, and shows every run that did not work."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from headtohead.core.errors import InputError
from headtohead.experiments import report
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.plots import Plot
from headtohead.experiments.record import load_record, run_directory, save_record
from headtohead.experiments.report import escape_markdown, fenced, write_report
from headtohead.experiments.sections import quality
from headtohead.experiments.statistics import summarise
from headtohead.experiments.terminal import ComparisonTable
from headtohead.experiments.wording import answer, listed, short_bytes, short_count, short_seconds
from tests.experiments.synthetic import FOUR, Made, thirty, write_synthetic

NASTY = "Boom: <script>alert('x')</script> | a `tick` & more\n```\nsecond line"


@pytest.fixture(autouse=True)
def quick_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots have tests of their own: here two small pictures stand for them, except where a test says otherwise."""
    if "real_plots" not in request.fixturenames:
        names = ("accuracy_vs_parameters.png", "loss.png")
        pictures = [Plot(name, "A heading", "What it shows.", b"picture") for name in names]
        monkeypatch.setattr(report, "draw_all", lambda summary: pictures)
        monkeypatch.setattr(quality, "_reliability", lambda summary, rows: None)


@pytest.fixture
def real_plots() -> None:
    """Ask for this to have the report drawn in full."""


def report_on(directory: Path) -> dict[str, Path]:
    return write_report(summarise(load_experiment(directory)))


def report_of(directory: Path, *args: object, **options: object) -> tuple[str, str]:
    paths = report_on(write_synthetic(directory, *args, **options))  # type: ignore[arg-type]
    return paths["report.html"].read_text(), paths["report.md"].read_text()


class Rows(HTMLParser):
    """The table rows of a page as lists of cell texts, and every tag that was left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "wbr", "br"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.replace("\xa0", " ")


def test_everything_is_written_and_nothing_half(tmp_path: Path, real_plots: None) -> None:
    directory = write_synthetic(tmp_path / "x")
    paths = report_on(directory)
    assert {"summary.csv", "results.json", "report.md", "report.html", "plots/loss.png"} <= set(paths)
    assert all(path.is_file() and path.stat().st_size for path in paths.values())
    assert not list(directory.rglob(".*"))
    assert len(json.loads(paths["results.json"].read_text())) == 4
    assert list(pd.read_csv(paths["summary.csv"])["label"]) == [made.label for made in FOUR]


def test_the_report_is_a_pure_function_of_the_folder(tmp_path: Path, real_plots: None) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:2])
    first = {name: path.read_bytes() for name, path in report_on(directory).items()}
    assert first == {name: path.read_bytes() for name, path in report_on(directory).items()}


def test_the_table_says_what_the_records_say(tmp_path: Path) -> None:
    page, _ = report_of(tmp_path / "x")
    parsed = Rows(page)
    assert parsed.open == []
    headings = [heading.rstrip(" ↑↓") for heading in parsed.rows[0]]
    row = next(row for row in parsed.rows if row[0].startswith("last_block"))
    cells = dict(zip(headings, row, strict=True))
    record = load_record(tmp_path / "x" / "runs" / "last_block-s123")
    assert cells["trained parameters"] == "7,090,946"
    assert cells["learning rate"] == "5e-05"
    assert cells["test acc. %"].startswith(f"{100 * (record.test_accuracy or 0):.1f}")
    assert cells["peak memory"] == short_bytes(record.peak_memory_bytes)
    assert cells["frozen prefix"] == "1.2 s"


def test_as_good_and_too_few_data_are_marked_apart(tmp_path: Path) -> None:
    page, text = report_of(tmp_path / "x", FOUR, (1, 2, 3))
    assert page.count('class="leads"') == 1 == text.count("** ◆") and text.count(" ? |") == 2
    assert "★" not in page and "? too few data to tell it from the best." in page
    _, settled = report_of(tmp_path / "y", FOUR, (1, 2, 3), n_test=5000)
    assert settled.count("** ≈") == 1 and "? too few" not in settled


def test_one_seed_marks_the_highest_and_claims_nothing(tmp_path: Path) -> None:
    _, text = report_of(tmp_path / "x")
    assert text.count("** ◆") == 1 and "not a claim that it is the best" in text
    assert "≈ as good" not in text and "? too few" not in text


def test_what_did_not_learn_is_marked(tmp_path: Path) -> None:
    page, text = report_of(tmp_path / "x", [FOUR[1], Made("guess", skill=0.49)], (1, 2, 3))
    assert text.count("✗") == 2 and "✗ did not learn" in page


def test_the_heading_says_whose_f1(tmp_path: Path) -> None:
    assert "F1 of spam %" in report_of(tmp_path / "x")[1]


def test_a_clear_winner_gets_the_star(tmp_path: Path) -> None:
    page, text = report_of(tmp_path / "x", [Made("good", skill=0.98), Made("poor", skill=0.7)], (1, 2, 3))
    assert page.count('class="leads"') == 1 and "** ★" in text
    assert "better than the other one beyond chance" in page


def test_without_a_paired_test_nothing_is_marked(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR, (1, 2))
    (directory / "data" / "test.csv").unlink()
    page = report_on(directory)["report.html"].read_text()
    assert 'class="leads"' not in page and "No strategy may be called best" in page


def test_failed_and_missing_runs_are_rows_with_the_error_in_full_and_escaped(tmp_path: Path) -> None:
    page, text = report_of(
        tmp_path / "x", FOUR, (1, 2), failed={("lora", 1): NASTY, ("lora", 2): "again"}, missing=[("head", 2)]
    )
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    parsed = Rows(page)
    assert any(
        row[0] == "lora" and "second line" in row[1] and "Failed, seed 1" in row[1] for row in parsed.rows
    )
    assert any(row[0] == "head" and "Not run: seed 2" in row[1] for row in parsed.rows)
    assert "````text\nBoom" in text and "\\| a \\`tick\\` &amp; more" in text
    assert "2 runs failed and 1 run is still to be done" in text


def test_markdown_tables_keep_their_columns(tmp_path: Path) -> None:
    _, text = report_of(tmp_path / "x", thirty(), failed={("dora", 123): NASTY}, missing=[("vera", 123)])
    table = [
        line for line in text.split("## Comparison")[1].split("##")[0].splitlines() if line.startswith("|")
    ]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert len(table) == 2 + 7 + 30


def test_families_group_the_table_and_warnings_are_rows(tmp_path: Path) -> None:
    made = [FOUR[0], Made("dora", "low-rank", 900, 0.9, warnings=("Saves <more> than it trains.",))]
    page, text = report_of(tmp_path / "x", made)
    rows = Rows(page).rows
    assert [row[0] for row in rows if row[0] in ("selective", "low-rank")] == ["selective", "low-rank"]
    assert ["dora", "Warning: Saves <more> than it trains."] in rows
    assert "*warning:* Saves &lt;more&gt; than it trains." in text
    alone, _ = report_of(tmp_path / "y", FOUR[:2])
    assert not any(row[0] == "selective" for row in Rows(alone).rows)


def test_several_seeds_show_mean_deviation_and_n(tmp_path: Path) -> None:
    page, text = report_of(tmp_path / "x", FOUR[:2], (1, 2, 3))
    assert re.search(r"\| \d\d\.\d ± \d\.\d \(3\) \|", text)
    assert "± 0." in page and "not measured" not in page
    assert "One seed was run" in report_of(tmp_path / "y", FOUR[:2])[0]


def test_grouped_timings_carry_their_mark(tmp_path: Path) -> None:
    made = [replace(FOUR[0], grouped=True), FOUR[1]]
    _, text = report_of(tmp_path / "x", made, (1, 2))
    assert text.count("(2) ‡ |") >= 1 and "‡ several seeds were timed together" in text
    assert "‡" not in report_of(tmp_path / "y", FOUR[:2])[1]


def test_the_demo_says_so_first(tmp_path: Path) -> None:
    page, text = report_of(tmp_path / "x", demo=True)
    assert page.index('class="demo"') < page.index('class="answer"')
    assert "--weights-dir" in page and "--data sms_spam" in page
    assert text.startswith("# DEMO")
    assert "DEMO" not in report_of(tmp_path / "y")[0]


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path, real_plots: None) -> None:
    page, _ = report_of(tmp_path / "x")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page) and "@import" not in page and "url(" not in page
    assert page.count("data:image/png;base64,") == 7
    assert "prefers-color-scheme: dark" in page


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    page, text = report_of(tmp_path / "x", [Made("a<b>|`c`&", skill=0.9), Made("b", skill=0.8)])
    assert "a<b>" not in page.replace("<wbr>", "") and "a&lt;b&gt;" in page
    assert "a&lt;b&gt;\\|\\`c\\`&amp;" in text


def test_a_worse_than_chance_best_is_called_so(tmp_path: Path) -> None:
    summary = summarise(
        load_experiment(write_synthetic(tmp_path / "x", [Made("a", skill=0.5), Made("b", skill=0.49)]))
    )
    assert any("always naming the most frequent class" in sentence for sentence in answer(summary))


def test_only_failures_still_make_a_report(tmp_path: Path, real_plots: None) -> None:
    page, text = report_of(tmp_path / "x", FOUR[:1], failed={("head", 123): "boom"})
    assert "No run finished" in page and "1 run failed" in text


def test_a_plot_that_no_longer_applies_is_removed(tmp_path: Path, real_plots: None) -> None:
    directory = write_synthetic(tmp_path / "x", FOUR[:2])
    report_on(directory)
    for history in directory.rglob("history.csv"):
        history.unlink()
    assert "plots/loss.png" not in report_on(directory)
    assert not (directory / "plots" / "loss.png").exists()


def test_a_record_without_predictions_is_reported_as_not_compared(tmp_path: Path) -> None:
    directory = write_synthetic(tmp_path / "x")
    run = run_directory(directory, "lora-s123")
    save_record(run, replace(load_record(run), test_predictions=None))
    assert "not compared: lora" in report_on(directory)["report.html"].read_text()


def test_a_folder_that_is_no_experiment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"experiment\.json"):
        report_on(tmp_path)


@pytest.mark.parametrize("strategies", [FOUR, thirty()], ids=["four", "thirty"])
def test_the_terminal_table_fits_100_columns(tmp_path: Path, strategies: tuple[Made, ...]) -> None:
    directory = write_synthetic(
        tmp_path / "x", strategies, (1, 2), failed={("lora", 1): "why [bold] it failed"}, demo=True
    )
    console = Console(width=100, record=True, file=StringIO())
    console.print(ComparisonTable(summarise(load_experiment(directory))))
    shown = console.export_text()
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert "DEMO" in shown and "…" not in shown and "why [bold] it failed" in shown
    assert "MiB" in shown


def test_markdown_escaping() -> None:
    assert escape_markdown("last_block _x_ <a> | b\nc") == "last_block \\_x\\_ &lt;a&gt; \\| b c"
    assert fenced("a ``` b").startswith("````text\n")


def test_numbers_in_words() -> None:
    assert [short_count(value) for value in (0, 1538, 124_441_346)] == ["0", "1.54 K", "124 M"]
    assert [short_seconds(value) for value in (0.0123, 9.94, 59.99, 75, 5400)] == [
        "0.012 s", "9.9 s", "1 min 0 s", "1 min 15 s", "1 h 30 min",
    ]  # fmt: skip
    assert [short_bytes(value) for value in (12, 1023.9, 600e6, 2**30)] == [
        "12 B",
        "1 KiB",
        "572 MiB",
        "1 GiB",
    ]
    assert (listed(["a"]), listed(["a", "b", "c"]), listed(list("abcde"), 3)) == (
        "a",
        "a, b and c",
        "a, b and 3 more",
    )
