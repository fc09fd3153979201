"""The book's protocol, to the byte where the real collection is there; errors that name what to do."""

import hashlib
import io
import json
from itertools import chain

import pandas as pd
import pytest
import torch

from headtohead.core.data import Dataset, count_seen, load_dataset, read_split_csv
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.readers import LabelledText
from headtohead.core.sources import DEMO_FILE
from headtohead.core.splits import (
    balance_classes,
    check_every_class_is_trained,
    find_label_names,
    split_rows,
)
from headtohead.core.tokenizer import GPT2, gpt2_encoding
from headtohead.core.tokens import encode_texts
from tests.paths import GOLDEN, SMS, WHY_SKIPPED

SPLITS = ("train", "validation", "test")
with_collection = pytest.mark.skipif(not (SMS.is_file() and GOLDEN.is_file()), reason=WHY_SKIPPED)


def write_table(path, counts: dict[str, int], text: str = "message {} of {}"):
    rows = [(name, text.format(number, name)) for name, count in counts.items() for number in range(count)]
    pd.DataFrame(rows, columns=["label", "text"]).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def load(tmp_path):
    def load(data, **options) -> Dataset:
        return load_dataset(data, **{"context_length": 64} | options)

    return load


@pytest.fixture
def load_counts(tmp_path, load):
    def load_counts(counts: dict[str, int], **options) -> Dataset:
        return load(write_table(tmp_path / "mails.csv", counts), **options)

    return load_counts


def error_of(function, *arguments, **options) -> str:
    with pytest.raises(InputError) as failed:
        function(*arguments, **options)
    assert "\n" not in str(failed.value)
    return str(failed.value)


@with_collection
def test_golden_collection(tmp_path):
    golden = json.loads(GOLDEN.read_text())
    dataset = load_dataset(str(SMS), context_length=1024)
    assert dataset.csv_sha256 == golden["csv_sha256"]
    assert dataset.max_length == golden["max_length"]
    assert (dataset.name, dataset.label_names) == ("sms_spam", ("ham", "spam"))
    for name in SPLITS:
        split = getattr(dataset, name)
        assert len(split) == golden["rows"][name]
        token_ids = split.token_ids.numpy().astype("<i4").tobytes()
        assert hashlib.sha256(token_ids).hexdigest() == golden["token_ids_sha256"][name]
        file = pd.read_csv(io.BytesIO(dataset.csv[name]))
        assert split.labels.tolist() == file["Label"].tolist()
        assert list(split.texts) == file["Text"].tolist()
    train = set(dataset.train.texts)
    assert dataset.test_texts_seen_in_train == sum(text in train for text in dataset.test.texts) == 37


@with_collection
def test_the_collection_without_balancing(tmp_path):
    dataset = load_dataset(str(SMS), context_length=1024, balance=False)
    splits = [getattr(dataset, name) for name in SPLITS]
    assert [len(split) for split in splits] == [3900, 557, 1115]
    assert sum(int(split.labels.sum()) for split in splits) == 747


def test_demo_corpus(load):
    dataset = load("demo", context_length=1024)
    assert dataset.is_demo
    assert "DEMO" in dataset.source
    assert (dataset.name, dataset.label_names) == ("demo", ("ham", "spam"))
    lines = DEMO_FILE.read_text(encoding="utf-8").splitlines()
    assert sum(len(getattr(dataset, name)) for name in SPLITS) == len(lines)
    assert dataset.test_texts_seen_in_train == 0


def test_split_is_what_the_csv_files_say(load_counts, tmp_path):
    dataset = load_counts({"spam": 40, "ham": 60})
    assert [len(getattr(dataset, name)) for name in SPLITS] == [56, 8, 16]
    hashes = hashlib.sha256()
    for name in SPLITS:
        content = dataset.csv[name]
        hashes.update(content)
        assert dataset.csv_sha256[name] == hashlib.sha256(content).hexdigest()
        split = getattr(dataset, name)
        rows = read_split_csv(content, name)
        assert tuple(row.text for row in rows) == split.texts
        assert [int(row.label) for row in rows] == split.labels.tolist()
        assert split.token_ids.shape == (len(split), dataset.max_length)
        assert split.token_ids.dtype == split.labels.dtype == split.last_position.dtype == torch.int64
        for label, text in zip(split.labels.tolist(), split.texts, strict=True):
            assert text.endswith(dataset.label_names[label])
    assert dataset.sha256 == hashes.hexdigest()
    assert tuple(dataset.csv) == SPLITS
    assert dataset.name == "mails"
    assert not dataset.is_demo


def test_same_file_same_splits(load_counts):
    assert load_counts({"a": 30, "b": 50}).sha256 == load_counts({"a": 30, "b": 50}).sha256


@pytest.mark.parametrize(
    "text", ["NA", "null", 'say "hi"', "a,b", "a\nb", "a\r\nb", "  padded  ", "'", "#", "1"]
)
def test_every_text_survives_the_csv_files(tmp_path, load, text):
    rows = [(label, text) for label in ("ham", "spam") for _ in range(10)]
    pd.DataFrame(rows, columns=["label", "text"]).to_csv(tmp_path / "mails.csv", index=False)
    dataset = load(str(tmp_path / "mails.csv"))
    assert set(dataset.train.texts + dataset.validation.texts + dataset.test.texts) == {
        text.replace("\r", "")
    }
    assert dataset.test_texts_seen_in_train == len(dataset.test)


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        (["spam", "ham"], ("ham", "spam")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["b", "10", "9"], ("10", "9", "b")),
    ],
)
def test_order_of_the_label_names(labels, ordered):
    assert find_label_names([LabelledText(label, "x") for label in labels * 10], "mails.csv") == ordered


def test_balancing_is_the_book_s():
    table = pd.DataFrame({"Label": [0, 1, 0] * 20, "Text": [f"text {number}" for number in range(60)]})
    ham, spam = table[table["Label"] == 0], table[table["Label"] == 1]
    expected = pd.concat([ham.sample(len(spam), random_state=123), spam])
    pd.testing.assert_frame_equal(balance_classes(table), expected)


def test_three_classes_are_balanced_in_label_order():
    table = pd.DataFrame({"Label": [2] * 30 + [0] * 20 + [1] * 25, "Text": [str(n) for n in range(75)]})
    balanced = balance_classes(table)
    assert balanced["Label"].tolist() == [0] * 20 + [1] * 20 + [2] * 20
    assert balanced["Text"].tolist()[:20] == [str(n) for n in range(30, 50)]  # the smallest keeps its order
    assert balanced["Text"].is_unique


def test_split_rows_cuts_as_the_book_does():
    table = pd.DataFrame({"Label": range(29), "Text": range(29)})
    shuffled = table.sample(frac=1, random_state=123)["Label"].tolist()
    parts = [rows["Label"].tolist() for rows in split_rows(table).values()]
    assert [len(part) for part in parts] == [20, 2, 7]
    assert [*chain.from_iterable(parts)] == shuffled


def test_without_balancing_all_rows_stay(load_counts):
    dataset = load_counts({"a": 30, "b": 70}, balance=False)
    labels = torch.cat([getattr(dataset, name).labels for name in SPLITS])
    assert torch.bincount(labels).tolist() == [30, 70]


def test_max_length_is_the_longest_training_message(load_counts):
    dataset = load_counts({"a": 20, "b": 20})
    longest = max(len(gpt2_encoding().encode_ordinary(text)) for text in dataset.train.texts)
    assert dataset.max_length == longest == int(dataset.train.last_position.max()) + 1


def test_given_max_length_truncates_and_pads(load_counts):
    short, long = (
        load_counts({"a": 20, "b": 20}, max_length=2),
        load_counts({"a": 20, "b": 20}, max_length=64),
    )
    assert short.train.token_ids.shape[1] == short.max_length == 2
    assert torch.equal(short.train.token_ids, long.train.token_ids[:, :2])
    assert (long.train.token_ids[:, -1] == GPT2.pad_id).all()


def test_encode_texts():
    texts = ["", "Hello world", "Every effort moves you", "<|endoftext|>"]
    token_ids, last_position = encode_texts(texts, 3)
    assert token_ids[:3].tolist() == [[50256, 50256, 50256], [15496, 995, 50256], [6109, 3626, 6100]]
    assert last_position.tolist() == [0, 1, 2, 2]
    assert GPT2.pad_id not in token_ids[3]
    empty_ids, empty_position = encode_texts([], 3)
    assert (empty_ids.shape, empty_position.shape) == ((0, 3), (0,))


def test_count_seen():
    assert count_seen(["a", "a", "b", "c"], ["a", "b", "B"]) == 3


def test_one_class(load_counts):
    assert "only one class, 'ham'" in error_of(load_counts, {"ham": 30})


def test_too_few_rows_in_a_class(load_counts):
    message = error_of(load_counts, {"ham": 30, "spam": 9})
    assert "'spam'" in message
    assert "9; at least 10" in message
    assert len(load_counts({"ham": 30, "spam": 10}).validation) == 2


def test_a_class_that_training_lacks():
    # With ten rows or more a class hardly ever misses the training split, so the rows are placed by hand.
    train = pd.DataFrame({"Label": [0, 0, 2], "Text": ["x"] * 3})
    message = error_of(check_every_class_is_trained, train, ("a", "b", "c"), "mails.csv")
    assert "'b'" in message
    assert "training split of 3 rows" in message


@pytest.mark.parametrize("max_length", [0, -1, 65])
def test_impossible_max_length(load, max_length):
    message = error_of(load, "demo", max_length=max_length)
    assert f"--max-length {max_length}" in message
    assert "between 1 and 64" in message


def test_message_longer_than_the_context(tmp_path, load):
    data = write_table(tmp_path / "mails.csv", {"a": 20, "b": 20}, text="word " * 70 + "{}{}")
    message = error_of(load, data)
    assert "tokens" in message
    assert "64" in message
    assert "--max-length" in message
    assert load(data, max_length=64).max_length == 64


def test_columns_can_be_chosen(tmp_path, load):
    rows = [(label, f"text {number}") for label in "ab" for number in range(20)]
    pd.DataFrame(rows, columns=["kind", "words"]).to_csv(tmp_path / "mails.csv", index=False)
    dataset = load(str(tmp_path / "mails.csv"), label_column="kind", text_column="words")
    assert dataset.label_names == ("a", "b")
    assert "--label-column" in error_of(load, str(tmp_path / "mails.csv"))


def test_unavailable_without_cache_and_download(tmp_path, load, monkeypatch):
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match="downloads are off"):
        load(None, download=False)
