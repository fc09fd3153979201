"""Tables that fit a terminal: names whole at every width, nothing wrapped inside a word, no harm from any text.

Imports nothing but rich, so that ``--list`` answers at once.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

UNBOUNDED = 10_000  # columns; wide enough for any table
SHORT_NAME = 32  # columns that a name may take at any width before it is continued on a second line
BESIDE = 44  # columns that a text needs to stand beside the numbers instead of below them
# Control characters but the line's end, and those that turn the direction of what follows.
_HARMFUL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Ranked(Protocol):
    """A column; in a terminal too narrow for all, those of the highest rank are left out first, 0 stays."""

    @property
    def rank(self) -> int: ...


R = TypeVar("R", bound=Ranked)


@dataclass(frozen=True)
class Heading:
    """A column of a :class:`Listing`'s numbers."""

    name: str
    rank: int = 0


@dataclass(frozen=True)
class Item:
    """A line of a :class:`Listing`; without ``cells`` it is the heading of a group."""

    name: str
    cells: tuple[str, ...] = ()
    text: Text | None = None
    style: str = "bold"


@dataclass(frozen=True)
class Listing:
    """Names with numbers and a text each: the texts beside the numbers where there is room, below them where not."""

    headings: Sequence[Heading]
    text_heading: str
    items: Sequence[Item]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        room = width - natural_width(console, options, self._table(self.headings, width, beside=False))
        if room >= BESIDE:
            yield self._table(self.headings, width, beside=True)
            return
        table, kept = fitting(
            console, options, self.headings, lambda some: self._table(some, width, beside=False)
        )
        yield from self._with_texts_below(console, options, table)
        if len(kept) < len(self.headings):
            gone = [heading.name for heading in self.headings if heading not in kept]
            yield Text(f"Left out at this width: {', '.join(gone)}.", style="dim")

    def _table(self, headings: Sequence[Heading], width: int, beside: bool) -> Table:
        table = bare_table()
        names = bottom_aligned(["strategy", *(stacked(heading.name) for heading in headings)])
        table.add_column(Text(names[0]), no_wrap=True)
        if beside:
            table.add_column(Text("\n" * names[0].count("\n") + self.text_heading))
        for name in names[1:]:
            table.add_column(Text(name), justify="right", no_wrap=True)
        shown = [self.headings.index(heading) for heading in headings]
        for item in self.items:
            if beside and not item.cells:
                table.add_section()
            cells = [Text(item.cells[index]) for index in shown] if item.cells else []
            texts = [item.text or Text()] if beside else []
            table.add_row(Text(continued(item.name, name_width(width)), style=item.style), *texts, *cells)
        return table

    def _with_texts_below(self, console: Console, options: ConsoleOptions, table: Table) -> RenderResult:
        """The table's lines with each item's text after the item's own."""
        lines = console.render_lines(table, options, pad=False)
        heights = [continued(item.name, name_width(options.max_width)).count("\n") + 1 for item in self.items]
        place = len(lines) - sum(heights)
        yield from _joined(lines[:place])
        for item, height in zip(self.items, heights, strict=True):
            if not item.cells and item is not self.items[0]:
                yield Segment.line()
            yield from _joined(lines[place : place + height])
            place += height
            if item.text:
                yield Padding(item.text, (0, 0, 0, 4))


def _joined(lines: Sequence[Sequence[Segment]]) -> RenderResult:
    for line in lines:
        yield from line
        yield Segment.line()


# --- fitting -------------------------------------------------------------------------------------------------


def bare_table(title: Text | None = None) -> Table:
    """An empty table as this program draws them."""
    return Table(
        title=title,
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )


def fitting(
    console: Console,
    options: ConsoleOptions,
    columns: Sequence[R],
    build: Callable[[Sequence[R]], Table],
) -> tuple[Table, list[R]]:
    """The table that ``build`` makes of as many columns as fit, and those columns."""
    kept = list(columns)
    table = build(kept)
    while natural_width(console, options, table) > options.max_width:
        least = max(kept, key=lambda column: column.rank, default=None)
        if least is None or not least.rank:
            break
        kept.remove(least)
        table = build(kept)
    return table, kept


def natural_width(console: Console, options: ConsoleOptions, table: Table) -> int:
    """How many columns of the terminal a table takes where nothing is wrapped."""
    return Measurement.get(console, options.update(width=UNBOUNDED), table).maximum


def name_width(width: int) -> int:
    """How many of ``width`` columns a name may take in one line."""
    return max(min(SHORT_NAME, width - 20), width // 2)


# --- text that fits and does no harm ---------------------------------------------------------------------------


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
