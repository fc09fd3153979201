"""From labelled rows to three splits: duplicates, balancing, shuffling and cutting, every draw as in the book.

Source: "Build a Large Language Model (From Scratch)", chapter 6: classes sampled down to the smallest, 70 % / 10 % /
rest for training, validation and test, every draw with random_state 123. A table has the columns Label (the class's
number) and Text, the names that the book gives its csv files.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from headtohead.core.errors import InputError
from headtohead.core.readers import LabelledText

RANDOM_STATE = 123
TRAIN_FRACTION = 0.7
VALIDATION_FRACTION = 0.1
FEWEST_ROWS_PER_CLASS = 10
MOST_THROWN_AWAY = 0.5  # of all rows: above it, balancing has to be asked for
Tables = dict[str, pd.DataFrame]


def find_label_names(rows: Sequence[LabelledText], file: str) -> tuple[str, ...]:
    """The classes in the order of their label numbers: integers by value, anything else by the alphabet.

    Raises:
        InputError: there is one class only, or one has too few rows to be split.
    """
    counts = Counter(row.label for row in rows)
    if len(counts) == 1:
        (only,) = counts
        raise InputError(f"{file} has only one class, {only!r}; at least two are needed to tell them apart")
    rarest = min(counts, key=lambda name: counts[name])
    if counts[rarest] < FEWEST_ROWS_PER_CLASS:
        raise InputError(
            f"{file}: the class {rarest[:40]!r} (one of {len(counts)}) has too few rows, {counts[rarest]}; "
            f"at least {FEWEST_ROWS_PER_CLASS} are needed: add rows or leave that class out"
        )
    try:
        return tuple(sorted(counts, key=lambda name: (int(name), name)))
    except ValueError:
        return tuple(sorted(counts))


def to_table(rows: Sequence[LabelledText], label_names: Sequence[str]) -> pd.DataFrame:
    """The rows with the numbers of their classes."""
    numbers = {name: number for number, name in enumerate(label_names)}
    return pd.DataFrame({"Label": [numbers[row.label] for row in rows], "Text": [row.text for row in rows]})


def class_counts(table: pd.DataFrame, n_classes: int) -> tuple[int, ...]:
    """How many rows each class has."""
    counts = Counter(table["Label"].tolist())
    return tuple(counts[number] for number in range(n_classes))


def balance_classes(table: pd.DataFrame) -> pd.DataFrame:
    """Every class sampled down to the smallest; class after class, a class of that size as it stands."""
    classes = [rows for _, rows in table.groupby("Label", sort=True)]
    smallest = min(len(rows) for rows in classes)
    # Sampling all rows of a class would shuffle it, and the book leaves its smallest class in order.
    sampled = [
        rows if len(rows) == smallest else rows.sample(smallest, random_state=RANDOM_STATE)
        for rows in classes
    ]
    return pd.concat(sampled)


def keeps_most(counts: Sequence[int]) -> bool:
    """Whether balancing classes of these sizes keeps most of the rows."""
    return min(counts) * len(counts) >= (1 - MOST_THROWN_AWAY) * sum(counts)


def split_rows(table: pd.DataFrame, *, stratified: bool = False) -> Tables:
    """Shuffle, then cut into training (70 %), validation (10 %) and test rows (the rest).

    ``stratified``: every class is cut so on its own, hence has the same share in every split.
    """
    shuffled = table.sample(frac=1, random_state=RANDOM_STATE).reset_index(drop=True)
    groups = [rows for _, rows in shuffled.groupby("Label", sort=True)] if stratified else [shuffled]
    parts: dict[str, list[pd.DataFrame]] = {"train": [], "validation": [], "test": []}
    for rows in groups:
        train_end = int(len(rows) * TRAIN_FRACTION)
        validation_end = train_end + int(len(rows) * VALIDATION_FRACTION)
        parts["train"].append(rows[:train_end])
        parts["validation"].append(rows[train_end:validation_end])
        parts["test"].append(rows[validation_end:])
    return {name: pd.concat(each).sort_index() for name, each in parts.items()}


def with_validation(tables: Mapping[str, pd.DataFrame], *, stratified: bool = False) -> Tables:
    """Predefined splits; where validation is missing, a tenth of the shuffled training rows."""
    if "validation" in tables:
        return {name: tables[name].reset_index(drop=True) for name in ("train", "validation", "test")}
    shuffled = tables["train"].sample(frac=1, random_state=RANDOM_STATE).reset_index(drop=True)
    groups = [rows for _, rows in shuffled.groupby("Label", sort=True)] if stratified else [shuffled]
    drawn = pd.concat([rows[len(rows) - max(1, int(len(rows) * VALIDATION_FRACTION)) :] for rows in groups])
    left = shuffled.drop(drawn.index)
    return {"train": left, "validation": drawn.sort_index(), "test": tables["test"].reset_index(drop=True)}


def duplicates(tables: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    """How many texts occur word for word a second time, within all splits and from one split to another."""
    texts = {name: table["Text"] for name, table in tables.items()}
    everything = pd.concat(list(texts.values()))
    return {
        "within_all": int(everything.duplicated().sum()),
        "validation_in_train": int(texts["validation"].isin(texts["train"]).sum()),
        "test_in_train": int(texts["test"].isin(texts["train"]).sum()),
        "test_in_validation": int(texts["test"].isin(texts["validation"]).sum()),
    }


def without_duplicates(tables: Mapping[str, pd.DataFrame]) -> Tables:
    """Every text once: in the test rows where it is among them, else in validation, else in training."""
    kept: Tables = {}
    seen: set[str] = set()
    for name in sorted(tables, key=["test", "validation", "train"].index) if "train" in tables else tables:
        table = tables[name]
        kept[name] = table[~table["Text"].duplicated() & ~table["Text"].isin(seen)]
        seen |= set(table["Text"])
    return {name: kept[name] for name in tables}


def check_every_class_is_trained(train: pd.DataFrame, label_names: Sequence[str], file: str) -> None:
    """InputError where the training rows lack a class."""
    trained = set(train["Label"])
    missing = [name for number, name in enumerate(label_names) if number not in trained]
    if missing:
        raise InputError(
            f"{file}: no row of the class {missing[0]!r} came into the training split of {len(train)} rows; "
            "add rows of that class or balance the classes"
        )
