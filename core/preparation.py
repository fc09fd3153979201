"""What is known of how rows became splits, as records keep it. Torch is not imported."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preparation:
    """How rows became splits, for records and reports.

    Attributes:
        how: how the files were understood.
        found, kept: rows of each class before and after balancing and the removal of duplicates.
        balanced: every class was sampled down to the smallest.
        stratified: every class has the same share in every split.
        own_splits: the source brought its splits.
        duplicates: texts that occur again, from :func:`core.splits.duplicates`.
        dropped: rows that were removed as duplicates; None where that was not asked for.
        lengths: split -> tokens of its messages, from :func:`core.tokens.length_statistics`.
    """

    how: str
    found: tuple[int, ...]
    kept: tuple[int, ...]
    balanced: bool
    stratified: bool
    own_splits: bool
    duplicates: dict[str, int]
    dropped: int | None
    lengths: dict[str, dict[str, float]]
