"""The table of a suite's rows: ours, and what was published where the same weights and messages were used."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headtohead.core.config import RANDOM_PREFIX
from headtohead.core.files import write_text_atomic
from headtohead.experiments.bonus import Result
from headtohead.experiments.bonus_rows import Suite
from headtohead.experiments.tables import visible
from headtohead.experiments.wording import UNKNOWN, percent

HEADINGS = (
    "row",
    "what",
    "trained",
    "test acc. %",
    "published %",
    "train acc. %",
    "valid. acc. %",
    "where",
    "remark",
)


def table_rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """A line per row, as text."""
    return [_line(result) for result in results]


def _line(result: Result) -> tuple[str, ...]:
    row, found = result.row, result.found

    def accuracy(name: str) -> str:
        spread = found.spread(f"{name}_accuracy") if found else None
        return UNKNOWN if spread is None else percent(spread.mean)

    beside = f"{row.published.test:.2f}" if result.real else UNKNOWN
    where = result.folder.name if result.folder else UNKNOWN
    remark = _remark(result)
    name, accuracies = (
        row.strategy.partition("@")[0],
        [accuracy(each) for each in ("test", "train", "validation")],
    )
    return (str(row.number), row.says, name, accuracies[0], beside, *accuracies[1:], where, remark)


def _remark(result: Result) -> str:
    row = result.row
    if result.why_not:
        return f"{'failed' if result.failed else 'not run'}: {result.why_not}"
    other = result.model and result.model.removeprefix(RANDOM_PREFIX) != row.size
    parts = [f"on {result.model} instead of {row.size}" if other else "", row.note]
    return "; ".join(part for part in parts if part)


def closing_words(results: Sequence[Result]) -> list[str]:
    """What the table may be read as."""
    real = [str(result.row.number) for result in results if result.real]
    if real:
        return [
            f"The published figure stands beside ours in the rows {', '.join(real)}: the same weights and messages."
        ]
    return [
        "No published figure stands beside ours: they were made with GPT-2's published weights on the real messages, "
        "which these runs did not have."
    ]


def write_table(suite: Suite, results: Sequence[Result], place: Path) -> None:
    """``<place>.md`` and ``<place>.csv``."""
    from headtohead.experiments.report import escape_markdown

    lines = table_rows(results)
    table = ["| " + " | ".join(HEADINGS) + " |", "|" + " :-- |" * len(HEADINGS)]
    table += ["| " + " | ".join(escape_markdown(cell) for cell in line) + " |" for line in lines]
    text = [f"# {suite.title}", *closing_words(results), "\n".join(table)]
    write_text_atomic(place.with_name(f"{place.name}.md"), "\n\n".join(text) + "\n")
    written = io.StringIO()
    csv.writer(written, lineterminator="\n").writerows([HEADINGS, *lines])
    write_text_atomic(place.with_name(f"{place.name}.csv"), written.getvalue())


def print_table(console: Console, results: Sequence[Result], place: Path) -> None:
    """The same in the terminal, and where it was written."""
    table = Table()
    for heading in HEADINGS:
        table.add_column(Text(heading))
    for line in table_rows(results):
        table.add_row(*(Text(visible(cell)) for cell in line))
    console.print(table)
    for sentence in closing_words(results):
        console.print(Text(sentence))
    console.print(Text(visible(f"table  {place}.md, {place}.csv")))
