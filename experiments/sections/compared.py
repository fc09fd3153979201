"""Which experiments a comparison is of, and in what they differ."""

from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Summary


def section(summary: Summary) -> Section | None:
    """None for the report of a single experiment."""
    about = summary.experiment.description.get("compared")
    if about is None:
        return None
    heading, *lines = about["table"]
    table = Table(tuple(heading), tuple(map(tuple, lines)), "What differs between them.", words=len(heading))
    return Section(
        "compared_experiments", "The experiments", tuple(about["groups"]), tables=(table,) if lines else ()
    )
