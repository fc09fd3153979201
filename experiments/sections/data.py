"""The messages: how they were read, classes before and after balancing, duplicates, lengths in tokens."""

from headtohead.core.preparation import Preparation
from headtohead.experiments.about_data import (
    SPLITS,
    class_words,
    duplicate_words,
    length_words,
    preparation_of,
)
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Summary
from headtohead.experiments.wording import count, share


def section(summary: Summary) -> Section | None:
    """None where an earlier version wrote the experiment."""
    dataset = summary.experiment.description["dataset"]
    about = preparation_of(dataset)
    if about is None:
        return None
    names = dataset["label_names"]
    read = [f"Read as {about.how}."] if about.how else []
    words = [*class_words(about, names), *duplicate_words(about)]
    if about.lengths:
        words += length_words(about, dataset["max_length"])
    sentences = [*read, *(f"{line[0].upper()}{line[1:]}." for line in words)]
    tables = [_classes(about, names), *([_lengths(about)] if about.lengths else [])]
    return Section("messages-used", "The messages", tuple(sentences), tables=tuple(tables))


def _classes(about: Preparation, names: list[str]) -> Table:
    rows = zip(names, about.found, about.kept, strict=True)
    return Table(
        ("class", "rows found", "rows used"),
        tuple((name, count(found), count(kept)) for name, found, kept in rows),
    )


def _lengths(about: Preparation) -> Table:
    return Table(
        ("split", "shortest", "median", "mean", "95 % have at most", "longest", "truncated %"),
        tuple(
            (
                name,
                *(f"{about.lengths[name][key]:.0f}" for key in ("shortest", "median")),
                f"{about.lengths[name]['mean']:.1f}",
                *(f"{about.lengths[name][key]:.0f}" for key in ("percentile_95", "longest")),
                share(100 * about.lengths[name]["truncated_share"]),
            )
            for name in SPLITS
        ),
        caption="Tokens per message, before truncation and padding.",
    )
