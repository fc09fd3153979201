"""Which strategies: the labels that are compared."""

from collections.abc import Sequence
from pathlib import Path

from headtohead.core.errors import InputError
from headtohead.strategies import DEFAULT, discover, plugin_name, split_labels


def strategy_labels(given: str | Sequence[str] | None, plugins: Sequence[Path] = ()) -> tuple[str, ...]:
    """The labels to run: those named (the chapter's by default), then every plugin not named among them.

    Raises:
        InputError: an empty list, or a plugin whose file name cannot be the name of a strategy.
    """
    names = [plugin_name(path) for path in plugins]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"--plugin: two files are named {name}.py; rename one, its name is the strategy's name"
            )
    text = given if given is None or isinstance(given, str) else ",".join(given)
    labels = list(DEFAULT) if text is None else expand_families(split_labels(text))
    named = {label.partition("@")[0] for label in labels}
    return (*labels, *(name for name in names if name not in named))


def expand_families(labels: Sequence[str]) -> list[str]:
    """Labels in which ``all`` and the name of a family stand for every strategy, or every one of that family."""
    from headtohead.strategies._catalogue import by_family, read_catalogue

    if set(labels) <= set(discover()):
        return list(labels)  # no family among them
    members = {name: [each.name for each in group] for name, group in by_family(read_catalogue()).items()}
    members["all"] = [name for group in members.values() for name in group]
    return list(dict.fromkeys(name for label in labels for name in members.get(label, [label])))
