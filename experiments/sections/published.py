"""What the book published for the same settings, beside ours where the same weights and messages were used."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from headtohead.core.config import RANDOM_PREFIX
from headtohead.experiments.bonus_rows import SUITES, Row, Suite
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.wording import UNKNOWN, percent


def section(summary: Summary) -> Section | None:
    """None where no run has the settings of a published one."""
    found = [
        (suite, row, each, own.experiment.description)
        for own in (summary, *summary.others)
        for suite in SUITES.values()
        for row, each in _rows(suite, own)
    ]
    if not found:
        return None
    lines = [_line(row, each, is_real(suite, row, about)) for suite, row, each, about in found]
    real = any(is_real(suite, row, about) for suite, row, _, about in found)
    said = (
        "Where the published weights and messages were used, the figure that the book's bonus experiments published stands "
        "beside ours; theirs are of one seed on an A100."
        if real
        else "These runs have settings of the book's bonus experiments. Their published figures were made with GPT-2's "
        "published weights on the published messages, which were not used here, so none stands beside ours."
    )
    headings = ("settings", "strategy", "test acc. %", "published %")
    return Section(
        "published", "Beside what was published", (said,), tables=(Table(headings, tuple(lines), words=2),)
    )


def is_real(suite: Suite, row: Row, about: Mapping[str, Any]) -> bool:
    """Whether experiment.json speaks of the weights and the data set that a row was published for."""
    model, dataset = about["model"], about["dataset"]
    size = RANDOM_PREFIX + row.size if row.settings.get("weights") == "random" else row.size
    return dataset["name"] == suite.data and model["name"] == size and not model["is_demo"]


def _rows(suite: Suite, summary: Summary) -> Iterator[tuple[Row, StrategySummary]]:
    about = summary.experiment.description
    for row in suite.rows:
        label, config, padded = _identity(suite.name, row.number)
        context = about["model"].get("config", {}).get("context_length")
        if about["train_config"] != config or padded != (about["dataset"]["max_length"] == context):
            continue
        if row.size != "124M" and row.size != about["model"]["name"]:
            continue
        for each in summary.finished:
            if each.label == label and about["dataset"]["name"] == suite.data:
                yield row, each


@cache
def _identity(suite: str, number: int) -> tuple[str, dict[str, Any], bool]:
    """The label and the protocol of a row, and whether it pads to the whole context."""
    from headtohead.experiments.bonus import experiment_of
    from headtohead.strategies import build_variants

    row = next(each for each in SUITES[suite].rows if each.number == number)
    config = experiment_of(SUITES[suite], [row], {}).training.train_config()
    return build_variants([row.strategy])[0].label, config.as_dict(), "max_length" in row.settings


def _line(row: Row, each: StrategySummary, real: bool) -> tuple[str, ...]:
    spread = each.spread("test_accuracy")
    ours = UNKNOWN if spread is None else percent(spread.mean)
    return (f"{row.number}: {row.says}", each.label, ours, f"{row.published.test:.2f}" if real else UNKNOWN)
