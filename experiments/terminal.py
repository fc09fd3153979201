"""The comparison in the terminal: names whole at every width, less important columns left out first, and named."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from headtohead.experiments.columns import Cell, Column, legend, shown_in
from headtohead.experiments.record import RunRecord
from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.wording import listed, plural

UNBOUNDED = 10_000  # columns; wide enough for any table
SHORT_NAME = 32  # columns that a name may take at any width before it is continued on a second line


@dataclass(frozen=True)
class ComparisonTable:
    """The report's comparison as wide as the terminal allows; render it with ``console.print``."""

    summary: Summary = field(repr=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        columns = shown_in("terminal", self.summary)
        kept = list(columns)
        table = self._table(kept, width)
        while _natural_width(console, options, table) > width and (least := _least_important(kept)):
            kept.remove(least)
            table = self._table(kept, width)
        yield table
        yield from self._notes(kept, [column for column in columns if column not in kept])

    def _table(self, columns: Sequence[Column], width: int) -> Table:
        demo = "DEMO · " if self.summary.experiment.demo_parts else ""
        title = Text(demo + self.summary.experiment.description["name"], style="bold")
        table = Table(
            title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
        )
        headings = bottom_aligned(["strategy", *(stacked(column.heading) for column in columns)])
        table.add_column(Text(headings[0]), no_wrap=True)
        for heading in headings[1:]:
            table.add_column(Text(heading), justify="right", no_wrap=True)
        for family in self.summary.families:
            if len(self.summary.families) > 1:
                table.add_row(Text(family, style="dim italic"))
            for row in self.summary.rows:
                if row.family == family:
                    self._add(table, columns, row, max(SHORT_NAME, width // 2))
        return table

    def _add(self, table: Table, columns: Sequence[Column], row: StrategySummary, name_width: int) -> None:
        name = continued(row.label, name_width)
        if row.runs:
            cells = [column.cell(self.summary, row, "terminal") for column in columns]
            style = "bold" if any(cell.leads for cell in cells) else ""
            written = [
                _with_signs(cell, column.carries_marks(self.summary))
                for cell, column in zip(cells, columns, strict=True)
            ]
            table.add_row(*(Text(each, style=style) for each in (name, *written)))
        for number, word, style in (
            (len(row.failed), "failed", "red"),
            (len(row.missing_seeds), "not run", "yellow"),
        ):
            if number:
                said = f"{number} {plural('run', number)} {word}" if row.runs or number > 1 else word
                table.add_row(Text(name, style=style), Text(said, style=style))

    def _notes(self, kept: Sequence[Column], left_out: Sequence[Column]) -> RenderResult:
        sentences = legend(self.summary, kept)
        if left_out:
            names = listed([column.name for column in left_out])
            sentences.append(f"Left out at this width: {names}; report.html has all columns.")
        if sentences:
            yield Text(" ".join(sentences), style="dim")
        for run in self.summary.failed:
            yield Text(f"{run.label}, seed {run.seed}, failed: {_first_line(run)}", style="red")


def _natural_width(console: Console, options: ConsoleOptions, table: Table) -> int:
    return Measurement.get(console, options.update(width=UNBOUNDED), table).maximum


def _least_important(columns: Sequence[Column]) -> Column | None:
    """The column that is left out next; None where only those are left that stay at any width."""
    column = max(columns, key=lambda column: column.rank)
    return column if column.rank else None


def _with_signs(cell: Cell, reserve: bool) -> str:
    """A cell's text; where some cell of its column carries a sign, the others leave room for it."""
    return f"{cell.words} {cell.signs or ' '}" if reserve else cell.words


def _first_line(run: RunRecord) -> str:
    return visible((run.error or "no reason was recorded").strip().partition("\n")[0])


# --- text that fits and does no harm ---------------------------------------------------------------------


# Control characters but the line's end, and those that turn the direction of what follows.
_HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """``text`` with its control characters shown as escapes: none reaches the terminal, none reorders the line."""
    return _HARMFUL.sub(lambda found: repr(found[0])[1:-1], text)


def stacked(heading: str) -> str:
    """A heading on two lines, cut at the space that makes it narrowest."""
    cuts = [match.start() for match in re.finditer(" ", heading)]
    if not cuts:
        return heading
    cut = min(cuts, key=lambda place: max(place, len(heading) - place - 1))
    return f"{heading[:cut]}\n{heading[cut + 1 :]}"


def bottom_aligned(headings: Sequence[str]) -> list[str]:
    """Headings with empty lines above the shorter ones, so that all stand on the same line."""
    lines = max(heading.count("\n") for heading in headings)
    return ["\n" * (lines - heading.count("\n")) + heading for heading in headings]


def continued(label: str, width: int) -> str:
    """A label that is too long for ``width`` columns, continued on indented lines, cut before its @ and + signs."""
    lines: list[str] = []
    for piece in re.split(r"(?<=.)(?=[@+])", visible(label)):
        if lines and cell_len(lines[-1] + piece) <= width:
            lines[-1] += piece
        else:
            indent = "  " if lines else ""
            chopped = chop_cells(piece, width - len(indent))  # one line, unless the piece alone is too long
            lines += [indent + part for part in chopped]
    return "\n".join(lines)
