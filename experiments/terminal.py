"""The comparison in the terminal: names whole at every width, less important columns left out first, and named."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from headtohead.experiments.columns import Cell, Column, legend, shown_in
from headtohead.experiments.record import RunRecord
from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.tables import (
    bare_table,
    bottom_aligned,
    continued,
    fitting,
    name_width,
    stacked,
    visible,
)
from headtohead.experiments.wording import listed, plural


@dataclass(frozen=True)
class ComparisonTable:
    """The report's comparison as wide as the terminal allows; render it with ``console.print``."""

    summary: Summary = field(repr=False)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = shown_in("terminal", self.summary)
        lines = self._lines(columns, name_width(options.max_width))
        table, kept = fitting(console, options, columns, lambda some: self._table(columns, some, lines))
        yield table
        yield from self._notes(kept, [column for column in columns if column not in kept])

    def _table(self, columns: Sequence[Column], kept: Sequence[Column], lines: Sequence[list[Text]]) -> Table:
        demo = "DEMO · " if self.summary.experiment.demo_parts else ""
        table = bare_table(Text(demo + self.summary.experiment.description["name"], style="bold"))
        headings = bottom_aligned(["strategy", *(stacked(column.heading) for column in kept)])
        table.add_column(Text(headings[0]), no_wrap=True)
        for heading in headings[1:]:
            table.add_column(Text(heading), justify="right", no_wrap=True)
        places = [0, *(1 + columns.index(column) for column in kept)]
        for line in lines:
            table.add_row(*(line[place] for place in places if place < len(line)))
        return table

    def _lines(self, columns: Sequence[Column], name_columns: int) -> list[list[Text]]:
        """The cells of every line; where not all columns have one, those that are always shown come first."""
        reserved = [column.carries_marks(self.summary) for column in columns]
        lines = []
        for family in self.summary.families:
            if len(self.summary.families) > 1:
                lines.append([Text(family, style="dim italic")])
            for row in self.summary.rows:
                if row.family == family:
                    name = continued(row.label, name_columns)
                    lines += self._finished_line(columns, reserved, row, name) + _why_not_lines(row, name)
        return lines

    def _finished_line(
        self, columns: Sequence[Column], reserved: Sequence[bool], row: StrategySummary, name: str
    ) -> list[list[Text]]:
        if not row.runs:
            return []
        cells = [column.cell(self.summary, row, "terminal") for column in columns]
        style = "bold" if any(cell.leads for cell in cells) else ""
        written = [_with_signs(cell, room) for cell, room in zip(cells, reserved, strict=True)]
        return [[Text(each, style=style) for each in (name, *written)]]

    def _notes(self, kept: Sequence[Column], left_out: Sequence[Column]) -> RenderResult:
        sentences = legend(self.summary, kept)
        if left_out:
            names = listed([column.name for column in left_out])
            sentences.append(f"Left out at this width: {names}; report.html has all columns.")
        if sentences:
            yield Text()
            yield Text(" ".join(sentences), style="dim")
        for run in self.summary.failed:
            yield Text(f"{run.label}, seed {run.seed}, failed: {_first_line(run)}", style="red")


def _why_not_lines(row: StrategySummary, name: str) -> list[list[Text]]:
    """A line each for the runs that failed and for those that were not done, said where the accuracy would be."""
    lines = []
    for number, word, style in (
        (len(row.failed), "failed", "red"),
        (len(row.missing_seeds), "not run", "yellow"),
    ):
        if number:
            said = f"{number} {plural('run', number)} {word}" if row.runs or number > 1 else word
            lines.append([Text(name, style=style), Text(said, style=style)])
    return lines


def _with_signs(cell: Cell, reserve: bool) -> str:
    """A cell's text; where some cell of its column carries a sign, the others leave room for it."""
    return f"{cell.words} {cell.signs or ' '}" if reserve else cell.words


def _first_line(run: RunRecord) -> str:
    return visible((run.error or "no reason was recorded").strip().partition("\n")[0])
