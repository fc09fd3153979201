"""Names of the splits beside the one that a data set comes with; imports nothing heavy."""

RANDOM = "random"
SHORT_TO_LONG = "short-to-long"


def split_names(count: int) -> tuple[str, ...]:
    """Names of random splits beside the first, which is the data set's own: 3 -> ("random-2", "random-3")."""
    return tuple(f"{RANDOM}-{number}" for number in range(2, count + 1))
