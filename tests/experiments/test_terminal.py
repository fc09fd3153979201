"""What the terminal shows: whole names at every width, nothing lost in silence, no text taken for markup."""

import io
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from headtohead.core.training import Progress
from headtohead.experiments import console as display
from headtohead.experiments.cluster_progress import ClusterProgress
from headtohead.experiments.columns import shown_in
from headtohead.experiments.console import (
    PlanRow,
    about,
    print_catalogue,
    print_end,
    print_plan,
    roughly,
    starting,
)
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.outcomes import Outcomes, outcome_line
from headtohead.experiments.progress import Work
from headtohead.experiments.record import RunRecord
from headtohead.experiments.statistics import Summary, summarise
from headtohead.experiments.tables import Heading, Item, Listing, continued, stacked, visible
from headtohead.experiments.terminal import ComparisonTable
from headtohead.experiments.wording import answer
from headtohead.strategies import discover
from headtohead.strategies._catalogue import read_catalogue
from tests.experiments.synthetic import FOUR, Made, thirty, write_synthetic

WIDTHS = (60, 80, 100, 140)
TWENTY = thirty()[:20]
LONG = (
    Made("lora@r=4+alpha=8+dropout=0.1", "low-rank", 300_000, 0.96),
    Made("prefix@länge=日本語+name=ünïcode+tokens=12345+init=normal+more=abcdefgh", "prompts", 5_000, 0.9),
)
HOSTILE = "why [bold]it[/bold] \x1b[31mfailed <script>|`\u202e"


def summary_of(directory: Path, *args: object, **options: object) -> Summary:
    return summarise(load_experiment(write_synthetic(directory, *args, **options)))  # type: ignore[arg-type]


def plain(width: int = 110) -> Console:
    return Console(file=io.StringIO(), width=width)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def printed(renderable: object, width: int) -> str:
    console = plain(width)
    console.print(renderable)
    return written(console)


def named_as_left_out(shown: str) -> set[str]:
    note = " ".join(shown.split()).partition("Left out at this width: ")[2].partition(";")[0]
    return set(re.split(", | and ", note)) if note else set()


@pytest.fixture(scope="module")
def summaries(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Summary]:
    folder = tmp_path_factory.mktemp("terminal")
    return {
        (len(made), seeds): summary_of(
            folder / f"{len(made)}-{seeds}",
            made,
            range(1, seeds + 1),
            failed={("lora", 1): HOSTILE},
            demo=True,
        )
        for made in (FOUR, TWENTY)
        for seeds in (1, 3)
    }


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("strategies", [4, 20])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_comparison_keeps_names_and_accuracies_at_every_width(
    summaries: dict[tuple[int, int], Summary], strategies: int, seeds: int, width: int
) -> None:
    summary = summaries[strategies, seeds]
    shown = printed(ComparisonTable(summary), width)
    assert max(map(cell_len, shown.splitlines())) <= width
    first = [line.split()[0] for line in shown.splitlines() if line.strip()]
    assert all(row.label in first for row in summary.rows)
    for row in summary.finished:
        line = next(line for line in shown.splitlines() if line.startswith(f"{row.label} "))
        assert f" {100 * (row.test_accuracy or 0):.1f}" in line
        assert seeds == 1 or f"({len(row.runs)})" in line
    assert "…" not in shown and "bold" not in shown.replace("[bold]", "").replace("[/bold]", "")
    assert "DEMO" in shown and "failed" in shown and "◆" in shown  # the highest, no claim
    columns, left_out = shown_in("terminal", summary), named_as_left_out(shown)
    assert left_out <= {column.name for column in columns}
    kept = [column for column in columns if column.name not in left_out]
    heading = shown.partition("─")[0].split()
    assert all(word in heading for column in kept for word in column.heading.split())
    line = next(line for line in shown.splitlines() if line.startswith("all_layers "))
    assert len(re.split(r"\s{2,}", line.replace("≈", "").strip())) == 1 + len(kept)


def test_the_least_important_column_leaves_first(summaries: dict[tuple[int, int], Summary]) -> None:
    columns = {column.name: column.rank for column in shown_in("terminal", summaries[4, 3])}
    gone = []
    for width in range(170, 60, -6):
        names = named_as_left_out(printed(ComparisonTable(summaries[4, 3]), width))
        gone += [name for name in columns if name in names and name not in gone]
        assert not gone or min(columns[name] for name in gone) >= max(
            rank for name, rank in columns.items() if name not in gone
        )
    assert len(gone) > 7 and "test acc." not in gone


def test_long_and_foreign_names_are_shown_whole(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", (*FOUR, *LONG), (1, 2, 3))
    for width in WIDTHS:
        shown = printed(ComparisonTable(summary), width)
        assert max(map(cell_len, shown.splitlines())) <= width and "…" not in shown
        assert LONG[0].label in shown
        pieces = re.split(r"(?=[@+])", LONG[1].label)
        assert all(piece in shown for piece in pieces)


def test_a_label_is_continued_before_its_signs() -> None:
    assert continued("lora@r=4+alpha=8", 40) == "lora@r=4+alpha=8"
    assert continued("lora@r=4+alpha=8+dropout=0.1", 18) == "lora@r=4+alpha=8\n  +dropout=0.1"
    assert continued("x" * 25, 10).replace("\n", "") == "x" * 25
    assert all(cell_len(line) <= 12 for line in continued("日本語" * 5 + "@a=日本語日本語", 12).splitlines())


def test_headings_are_cut_where_they_become_narrowest() -> None:
    assert stacked("trained parameters") == "trained\nparameters"
    assert stacked("95 % interval") == "95 %\ninterval"
    assert stacked("evaluation") == "evaluation"


def test_failed_and_missing_runs_are_rows_at_every_width(tmp_path: Path) -> None:
    summary = summary_of(
        tmp_path / "x", FOUR, (1, 2), failed={("lora", 1): HOSTILE, ("lora", 2): "no"}, missing=[("head", 2)]
    )
    for width in WIDTHS:
        shown = printed(ComparisonTable(summary), width)
        assert "2 runs failed" in shown and "1 run not run" in shown
        assert "why [bold]it[/bold]" in shown and "lora, seed 2, failed: no" in shown


# --- no text does harm -----------------------------------------------------------------------------------------


def test_control_characters_are_shown_and_not_sent() -> None:
    assert visible("a\x1b[31m\r\x00\x9b\u202eb\n") == "a\\x1b[31m\\r\\x00\\x9b\\u202eb\n"
    assert visible("ünïcode 日本語 [bold] `|<>") == "ünïcode 日本語 [bold] `|<>"


def test_hostile_text_is_shown_as_it_is_everywhere(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", failed={("lora", 123): HOSTILE})
    console = plain(200)
    print_plan(
        console, {"data": HOSTILE}, [PlanRow("[red]x", HOSTILE, None, 1, 1, how=(HOSTILE,), trouble=HOSTILE)]
    )
    display.print_demo(console, ["model"], [HOSTILE])
    print_end(console, summary, {HOSTILE: summary.experiment.directory / HOSTILE.replace("/", "")}, 1.0)
    progress = display.RunProgress(console, [Work("a", 1.0)], ["a"])
    progress.begin([f"{HOSTILE}, seed 1"])
    progress.end(summary.failed[0])
    shown = written(console)
    assert "\x1b" not in shown and "\u202e" not in shown
    assert shown.count("why [bold]it[/bold] \\x1b[31mfailed <script>|`\\u202e") >= 5
    assert "[red]x" in shown


# --- lists and the panel ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_the_list_names_every_strategy_whole(width: int) -> None:
    console = plain(width)
    print_catalogue(console, read_catalogue())
    lines = written(console).splitlines()
    assert max(map(cell_len, lines)) <= width
    names = [line.split()[0] for line in lines if line.strip()]
    assert all(name in names for name in discover())
    assert any("124,441,346" in line and "all_layers" in line for line in lines)


def test_texts_stand_beside_or_below_and_numbers_leave_by_rank() -> None:
    headings = [Heading("first number", 2), Heading("second", 1), Heading("third")]
    items = [Item("group"), Item("  name" * 3, ("1111111", "2222222", "3333333"), None)]
    shown = printed(Listing(headings, "what", items), 40)
    assert "Left out at this width: first number." in shown and "1111111" not in shown and "2222222" in shown


@pytest.mark.parametrize("width", WIDTHS)
def test_the_panel_says_what_is_kept_and_what_all_share_once(width: int) -> None:
    rows = [
        PlanRow(
            made.label,
            f"Trains {made.label}.",
            5e-5,
            1,
            3,
            (1, 2),
            made.params,
            124_441_346,
            ("shared", made.label),
        )
        for made in (*FOUR, *LONG)
    ]
    console = plain(width)
    print_plan(console, {"model": "124M"}, rows)
    shown = written(console)
    assert max(map(cell_len, shown.splitlines())) <= width
    assert shown.count("shared") == 1
    flat = " ".join(shown.replace("│", " ").split())
    assert "head (seed 1, 2), last_block (seed 1, 2)" in flat
    assert "1 of 3" in shown and LONG[0].label in shown


# --- the end ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("terminal", [True, False])
def test_the_answer_is_printed_with_and_without_a_terminal(tmp_path: Path, terminal: bool) -> None:
    summary = summary_of(tmp_path / "x")
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal, color_system=None)
    print_end(console, summary, {}, seconds=None)
    assert " ".join(answer(summary)) in " ".join(written(console).split())


# --- while it runs ---------------------------------------------------------------------------------------------


def record(label: str, seed: int, **changes: object) -> RunRecord:
    made = RunRecord(
        run_id="x", strategy=label, label=label, seed=seed, status="ok", test_accuracy=0.9, total_seconds=2.0
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_without_a_terminal_each_run_is_a_line_with_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "PLAIN_LINE_SECONDS", 0.0)
    console = plain()
    works = [Work("head", 1.0), Work("lora", 100.0)]
    with display.drawn(console, display.RunProgress(console, works, ["head", "head", "lora"])) as progress:
        progress.begin(["head, seed 1", "head, seed 2"])
        progress.step(Progress(1, 10, None, "frozen blocks", preparing=True))
        progress.step(Progress(1, 10, 0.5))
        progress.end(record("head", 1))
        progress.end(record("head", 2))
        progress.begin(["lora, seed 1"])
        progress.end(record("lora", 1, status="failed", error="boom", test_accuracy=None))
    lines = written(console).splitlines()
    assert lines[0].startswith("  head, seed 1 and 1 more: frozen blocks 1/10; 0:00 elapsed")
    assert lines[1].startswith("  head, seed 1 and 1 more: step 1/10, loss 0.500; 0:00 elapsed")
    assert lines[2].startswith("[1/3] head, seed 1: test accuracy 90.00 % in 2.0 s (0:00 elapsed")
    assert lines[3].endswith("left)")
    assert lines[4] == "[3/3] lora, seed 1: failed: boom"


def test_what_is_drawn_anew_stays_narrow() -> None:
    progress = display.RunProgress(plain(200), [Work("a", 1.0)] * 200, ["a"] * 200)
    progress.begin([f"{LONG[1].label}, seed 123456789", "other"])
    progress.step(Progress(100_000, 123_456, 0.12345, "frozen blocks, once per message"))
    progress.step(Progress(100_001, 123_456, 0.12345))
    shown = printed(progress, 200)
    assert max(map(cell_len, shown.splitlines())) <= 60
    assert LONG[1].label in shown.replace("\n  ", "").replace("\n", "")
    assert "step 100001/123456, loss 0.123" in shown and "0 of 200 runs" in shown


def test_something_is_said_before_anything_slow() -> None:
    console = plain()
    with starting(console) as say:
        assert "Starting" in written(console)
        say("Reading [bold]x")
    assert "Reading [bold]x" in written(console)
    terminal = Console(file=io.StringIO(), width=80, force_terminal=True)
    with starting(terminal):
        pass
    assert "Starting" in written(terminal)
    assert written(terminal).rstrip().endswith("\x1b[2K") or "\x1b[?25h" in written(terminal)


def test_estimates_have_the_digits_that_they_deserve() -> None:
    seconds = (0.2, 7, 42, 59, 75, 100, 3_590, 5_000, 86_000, 200_000)
    assert [roughly(each) for each in seconds] == [
        "under 5 s", "5 s", "40 s", "1 min", "1 min", "2 min", "1 h", "1 h 20 min", "23 h 50 min", "2 days 8 h",
    ]  # fmt: skip
    assert about(1) == "under 5 s" and about(40) == "about 40 s"


@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_terminal_finished_runs_are_a_table_that_grows(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, no_color=True)
    names = ["head", LONG[1].label, "trial, 2 epochs, lora@r=4"]
    outcomes = Outcomes(console, names)
    console.print(outcomes.ended(record("head", 1)))
    console.print(outcomes.ended(record(LONG[1].label, 12345, status="failed", error="boom \x1b[31m")))
    trial = record("lora@r=4", 2, role="trial", validation_accuracy=0.5, train_config={"epochs": 2})
    console.print(outcomes.ended(trial, "n[b]1"))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", written(console)).splitlines()
    assert lines[0].split() == ["run", "strategy", "seed", "test", "acc.", "%", "time"]
    assert lines[1].split() == ["1/3", "head", "1", "90.00", "2.0", "s"]
    assert lines[0].index("time") + len("time") == lines[1].index("2.0 s") + len("2.0 s")
    text = "\n".join(lines)
    assert LONG[1].label in text or width < 140
    assert "12345  failed: boom \\x1b[31m" in text and "on n[b]1" in text
    assert all(cell_len(line) <= width for line in lines)


def progress_of(kind: type, console: Console) -> Any:
    if kind is ClusterProgress:
        return ClusterProgress(console, {"head, seed 1": Work("head", 1.0)}, ["head"])
    return display.RunProgress(console, [Work("head", 1.0)], ["head"])


@pytest.mark.parametrize("kind", [display.RunProgress, ClusterProgress])
def test_a_line_is_printed_while_the_screen_may_be_drawn(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who draws holds the console and asks for the progress: a printer that holds the progress would wait forever."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    progress = progress_of(kind, console)
    drawn: list[bool] = []

    def ask() -> None:
        progress.__rich__()
        drawn.append(True)

    def draw(*said: object) -> None:
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(timeout=5)

    monkeypatch.setattr(console, "print", draw)
    if kind is display.RunProgress:
        progress.begin(["head, seed 1"])
    progress.end(record("head", 1))
    assert drawn == [True]


def test_an_unknown_accuracy_has_no_unit() -> None:
    assert (
        outcome_line("[1/1]", record("head", 1, test_accuracy=None)).plain
        == "[1/1] head, seed 1: test accuracy – in 2.0 s"
    )
