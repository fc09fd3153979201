"""The report's further sections: each is a module that turns a summary into words, tables and pictures, or into None.

A section knows nothing of HTML or Markdown; the templates know nothing of what it is about. To add one, write the
module with its ``section(summary)`` and name it in ``_section_makers``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from headtohead.experiments.plots import Plot
from headtohead.experiments.statistics import Summary


@dataclass(frozen=True)
class Table:
    """A table of words: ``headings`` and rows of as many cells; all columns but the first ``words`` are numbers.

    ``few``: so many rows stand in report.md, and in the page until more are asked for; None: all.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    words: int = 1
    few: int | None = None

    @property
    def left_out(self) -> int:
        """How many rows report.md does not have."""
        return len(self.rows[self.few :]) if self.few is not None else 0


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: sentences, pictures, tables, in this order.

    Attributes:
        key: short name, unique in the report; the anchor of the page.
    """

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()


SectionMaker = Callable[[Summary], Section | None]


def all_sections(summary: Summary) -> list[Section]:
    """The sections that the experiment has data for, in the report's order."""
    return [found for make in _section_makers() if (found := make(summary)) is not None]


def _section_makers() -> tuple[SectionMaker, ...]:
    """One entry for each section's module beside this one."""
    from headtohead.experiments.sections import (  # they import this
        compared,
        costs,
        data,
        doubt,
        forgetting,
        messages,
        precision,
        published,
        quality,
        retried,
        settling,
        sizes,
        splits,
        starting,
        tuning,
    )

    return (
        data.section,
        published.section,
        starting.section,
        compared.section,
        doubt.section,
        settling.section,
        splits.section,
        sizes.section,
        tuning.section,
        quality.section,
        messages.section,
        costs.section,
        forgetting.section,
        precision.section,
        retried.section,
    )
