"""The embedded demo corpus: enough messages, equal classes, short lines that every reader takes whole."""

from pathlib import Path

import pandas as pd
import pytest

CORPUS = Path(__file__).resolve().parents[2] / "core" / "demo" / "messages.tsv"


@pytest.fixture(scope="module")
def messages() -> pd.DataFrame:
    return pd.read_csv(CORPUS, sep="\t", header=None, names=["Label", "Text"])


def test_pandas_reads_every_row(messages: pd.DataFrame) -> None:
    lines = CORPUS.read_text(encoding="utf-8").splitlines()
    assert len(messages) == len(lines)
    assert not messages.isna().any(axis=None)
    # The reader must also change nothing: no quoting, no stripped blanks, no number in place of a text.
    assert [f"{label}\t{text}" for label, text in messages.itertuples(index=False)] == lines


def test_messages_are_distinct(messages: pd.DataFrame) -> None:
    assert messages["Text"].str.casefold().nunique() == len(messages) >= 600


def test_classes_are_equal(messages: pd.DataFrame) -> None:
    counts = messages["Label"].value_counts()
    assert set(counts.index) == {"ham", "spam"}
    assert counts["ham"] == counts["spam"]


def test_classes_are_mixed(messages: pd.DataFrame) -> None:
    first_half = messages["Label"].iloc[: len(messages) // 2]
    assert 0.4 < (first_half == "spam").mean() < 0.6


def test_sizes(messages: pd.DataFrame) -> None:
    assert 40_000 <= CORPUS.stat().st_size <= 90_000
    assert messages["Text"].str.len().max() <= 220
