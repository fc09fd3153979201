"""The embedded demo corpus: enough messages, equal classes, short lines that every reader takes whole."""

import re
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
    assert messages["Text"].str.casefold().nunique() == len(messages) >= 1500


def test_classes_are_equal(messages: pd.DataFrame) -> None:
    counts = messages["Label"].value_counts()
    assert set(counts.index) == {"ham", "spam"}
    assert counts["ham"] == counts["spam"]


def test_classes_are_mixed(messages: pd.DataFrame) -> None:
    first_half = messages["Label"].iloc[: len(messages) // 2]
    assert 0.4 < (first_half == "spam").mean() < 0.6


def test_sizes(messages: pd.DataFrame) -> None:
    assert 100_000 <= CORPUS.stat().st_size <= 200_000
    assert messages["Text"].str.len().max() <= 220


def test_words_alone_do_not_settle_it(messages: pd.DataFrame) -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10))
    assert 0.7 < cross_val_score(model, messages["Text"], messages["Label"], cv=5).mean() < 0.85


def test_no_message_is_a_template_of_another(messages: pd.DataFrame) -> None:
    runs: dict[tuple[str, ...], set[int]] = {}
    for number, text in enumerate(messages["Text"]):
        words = re.sub(r"[^a-z0-9 ]", "", text.lower()).split()
        for start in range(len(words) - 6):
            runs.setdefault(tuple(words[start : start + 7]), set()).add(number)
    assert not [" ".join(words) for words, where in runs.items() if len(where) > 1]
