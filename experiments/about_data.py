"""How rows became splits, in words: for the terminal, the preview and the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from headtohead.core.json_files import build
from headtohead.core.preparation import Preparation
from headtohead.experiments.wording import count, plural, share

SPLITS = ("train", "validation", "test")


def class_words(about: Preparation, label_names: Sequence[str]) -> list[str]:
    """Rows of each class as found and as kept."""
    return _class_words(about.found, about.kept, label_names, about)


def _class_words(
    found: Sequence[int], kept: Sequence[int], names: Sequence[str], about: Preparation
) -> list[str]:
    lines = [f"{len(names)} classes: {_counts(names, found)}"]
    if tuple(kept) != tuple(found):
        why = "balanced to the rarest" if about.balanced else "duplicates removed"
        lines.append(f"{why}: {_counts(names, kept)}")
    elif not about.balanced and len(set(found)) > 1:
        lines.append("not balanced (--balance or --class-weights would make classes count alike)")
    if about.own_splits:
        lines.append("the splits are the source's own")
    if about.stratified:
        lines.append("every class has the same share in every split")
    return lines


def _counts(names: Sequence[str], counts: Sequence[int]) -> str:
    shown = [f"{name} {count(number)}" for name, number in zip(names, counts, strict=True)]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")


def duplicate_words(about: Preparation) -> list[str]:
    """What occurs more than once, and whether it was removed."""
    lines = []
    found = about.duplicates
    if about.dropped is not None:
        lines.append(f"{count(about.dropped)} duplicate {plural('row', about.dropped)} removed")
    across = [
        f"{count(found[key])} {words}"
        for key, words in (
            ("test_in_train", "test messages also in train"),
            ("validation_in_train", "validation messages also in train"),
            ("test_in_validation", "test messages also in validation"),
        )
        if found[key]
    ]
    if across or found["within_all"]:
        listed = f" ({', '.join(across)})" if across else ""
        lines.append(
            f"{count(found['within_all'])} messages occur word for word a second time{listed}; "
            "--drop-duplicates keeps each once"
        )
    return lines


def length_words(about: Preparation, max_length: int) -> list[str]:
    """How long messages are, and what is cut off."""
    train = about.lengths["train"]
    truncated = {name: about.lengths[name]["truncated_share"] for name in SPLITS}
    cut = ", ".join(f"{share(100 * value)} % of {name}" for name, value in truncated.items() if value)
    return [
        f"tokens per training message: {train['shortest']:.0f} to {train['longest']:.0f}, "
        f"median {train['median']:.0f}, mean {train['mean']:.1f}, 95 % at most {train['percentile_95']:.0f}",
        f"padded to {max_length} tokens; "
        + (f"longer ones are truncated: {cut}" if cut else "none is truncated"),
    ]


def preparation_of(dataset: Mapping[str, Any]) -> "Preparation | None":
    """What experiment.json says of its data; None where an earlier version wrote it."""
    found = dataset.get("preparation")
    if not isinstance(found, dict):
        return None
    return build(Preparation, found, "experiment.json, preparation", "run the experiment again.")
