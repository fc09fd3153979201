"""What another precision costs: the same runs beside those in float32, their accuracies and how often they agree."""

from headtohead.experiments.record import RunRecord
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Summary
from headtohead.experiments.wording import count, short_seconds

FULL = "fp32"


def section(summary: Summary) -> Section | None:
    """None where no run was done in float32 and in another precision, too."""
    records = [record for each in (summary, *summary.others) for record in each.experiment.records]
    exact = {_key(record): record for record in records if record.precision == FULL}
    pairs = [
        (record, exact[_key(record)])
        for record in records
        if record.precision not in (FULL, None) and _key(record) in exact
    ]
    rows = [_row(*pair) for pair in pairs if all(each.ok and each.test_predictions for each in pair)]
    if not rows:
        return None
    said = (
        "The same variant under the same seed, in float32 and in another precision: how many test messages get the "
        "same class, and what the accuracies are. A difference of a few messages is within what a seed changes, too."
    )
    headings = (
        "run",
        "precision",
        "same class",
        f"accuracy in {FULL}, %",
        "accuracy, %",
        f"training in {FULL}",
        "training",
    )
    return Section(
        "precision", "What the precision costs", (said,), tables=(Table(headings, tuple(rows), words=2),)
    )


def _key(record: RunRecord) -> str:
    config = {name: value for name, value in record.train_config.items() if value is not None}
    return repr(
        (record.strategy, sorted(record.hyperparameters.items()), record.seed, record.max_length, config)
    )


def _row(record: RunRecord, exact: RunRecord) -> tuple[str, ...]:
    ours, theirs = record.test_predictions or [], exact.test_predictions or []
    same = sum(left == right for left, right in zip(ours, theirs, strict=True))
    return (
        f"{record.label}, seed {record.seed}",
        str(record.precision),
        f"{count(same)} of {count(len(ours))}",
        f"{100 * (exact.test_accuracy or 0):.2f}",
        f"{100 * (record.test_accuracy or 0):.2f}",
        short_seconds(exact.train_seconds or 0),
        short_seconds(record.train_seconds or 0),
    )
