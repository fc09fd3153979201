"""The starting point: the accuracy of each split before the first step, as the chapter prints it."""

from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Spread, StrategySummary, Summary
from headtohead.experiments.wording import UNKNOWN, percent

SPLITS = ("train", "validation", "test")


def section(summary: Summary) -> Section | None:
    """None where no record knows it."""
    rows = [row for row in summary.finished if row.spread("before_train_accuracy")]
    if not rows:
        return None
    return Section(
        "starting-point",
        "Before finetuning",
        (
            "Accuracy with the new head as it was drawn, on the first ten batches of each split, as in the chapter; "
            "nothing was chosen by it.",
        ),
        tables=(
            Table(
                ("strategy", *(f"{name} acc. %" for name in SPLITS), "test acc. % after"),
                tuple(_line(row) for row in rows),
            ),
        ),
    )


def _line(row: StrategySummary) -> tuple[str, ...]:
    keys = (*(f"before_{name}_accuracy" for name in SPLITS), "test_accuracy")
    return (row.label, *(_cell(row.spread(key)) for key in keys))


def _cell(spread: Spread | None) -> str:
    return UNKNOWN if spread is None else percent(spread.mean)
