"""What the pages promise: commands that parse, links that lead somewhere, numbers that stand in the results."""

import csv
import re
import shlex
from pathlib import Path

import pytest

from headtohead.experiments import command_line
from headtohead.experiments.spec.labels import expand_families
from headtohead.strategies import discover, split_labels
from tests.paths import ROOT

PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "results/README.md",
    "results/reference/report.md",
    "strategies/README.md",
)
COMPARISON, TESTS = "run_all.py", "pytest"
END_OF_COMMAND = ("&&", "||", ";", "|", ">")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    """The fenced blocks of shell commands of a page."""
    return re.findall(r"^```(?:bash|sh|text|console)?\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def comparisons(page: str) -> list[list[str]]:
    """The flags of every ``python run_all.py ...`` in the blocks and in the running text of a page."""
    spans = [*(line for block in blocks(page) for line in block.splitlines())]
    spans += re.findall(r"`([^`\n]*run_all\.py [^`]*)`", text_of(page))
    return [flags_of(line) for line in spans if re.search(r"python3? run_all\.py", line)]


def flags_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    words = words[words.index("run_all.py") + 1 :]
    ends = [number for number, word in enumerate(words) if word in END_OF_COMMAND]
    return words[: ends[0]] if ends else words


def test_the_pages_hold_commands() -> None:
    assert len(comparisons("README.md")) >= 8


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page: str) -> None:
    for flags in comparisons(page):
        arguments = command_line.build_parser().parse_args(
            flags
        )  # a flag that does not exist exits, which fails
        if not arguments.list:
            command_line.experiment_of(arguments, flags)
        plugins = {Path(file).stem for file in vars(arguments).get("plugin", ())}
        labels = expand_families(split_labels(vars(arguments).get("strategies", "head")))
        names = {label.partition("@")[0] for label in labels}
        assert names <= {*discover(), *plugins}, flags


def test_the_quick_start_is_two_commands() -> None:
    section = text_of("README.md").split("## Quick start")[1].split("\n## ")[0]
    (block,) = re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    first, second = block.splitlines()
    assert COMPARISON in first and TESTS in second
    assert first.split("&&")[0] == second.split("&&")[0] == "python3 -m venv .venv "


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_exist(page: str) -> None:
    prose = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), f"{page} links {target}"
        if anchor:
            assert anchor in anchors(found), f"{page} links {target}"


def anchors(page: Path) -> set[str]:
    """How a Markdown page's headings are linked: in small letters, without signs, with dashes for spaces."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_files_shown_exist() -> None:
    tree = re.findall(r"^```text\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)[0]
    shown = [line.split()[0] for line in tree.splitlines()]
    assert len(shown) >= 7
    assert [name for name in shown if not (ROOT / name).exists()] == []


def test_the_table_is_that_of_the_reference_result() -> None:
    shown = text_of("README.md").split("## Quick start")[0]
    assert "DEMO" in shown
    with (ROOT / "results/reference/summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        (line,) = [line for line in shown.splitlines() if line.startswith(f"| {row['label']} |")]
        cells = [cell.strip(" *≈◆?★✗") for cell in line.strip("|").split("|")]
        assert f"{int(row['trainable_params']):,}" in cells
        accuracy, deviation = 100 * float(row["test_accuracy"]), 100 * float(row["test_accuracy_sd"])
        assert f"{accuracy:.1f} ± {deviation:.1f}" in cells
        low, high = 100 * float(row["test_accuracy_low"]), 100 * float(row["test_accuracy_high"])
        assert f"{low:.1f} to {high:.1f}" in cells
