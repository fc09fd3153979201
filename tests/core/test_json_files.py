"""JSON from anywhere: read within limits, and each value of the type that its field asks for."""

from dataclasses import dataclass, field
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from headtohead.core import json_files
from headtohead.core.errors import InputError
from headtohead.core.json_files import build, checked, read_object


@dataclass(frozen=True)
class Facts:
    name: str
    count: int = 1
    rate: float = 0.5
    on: bool = True
    kind: Literal["a", "b"] = "a"
    note: str | None = None
    parts: tuple[str, ...] = ()
    table: list[list[int]] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {"name": "x", "count": 3, "rate": 2, "on": False, "kind": "b", "note": "y", "parts": ["p"],
        "table": [[1, 2]], "counts": {"k": 1}, "rest": {"z": [None]}}  # fmt: skip


def test_values_that_fit_are_taken():
    assert build(Facts, GOOD, "f", "fix it") == Facts(**GOOD | {"parts": ("p",)})
    assert build(Facts, {"name": "x"}, "f", "fix it") == Facts("x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": 3.0}, "count is 3.0, but must be a whole number"),
        ({"count": True}, "count is True, but must be a whole number"),
        ({"rate": False}, "rate is False, but must be a number"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"rate": "1"}, "rate is '1'"),
        ({"on": 1}, "on is 1, but must be true or false"),
        ({"kind": "c"}, "kind is 'c', but must be 'a' or 'b'"),
        ({"note": 1}, "note is 1, but must be a text or null"),
        ({"parts": "p"}, "parts is 'p'"),
        ({"parts": ["p", 1]}, "parts[1] is 1, but must be a text"),
        ({"table": [[1, "2"]]}, "table is [[1, '2']]"),
        ({"counts": {"k": None}}, "counts['k'] is None, but must be a whole number"),
        ({"rest": []}, "rest is []"),
        ({"name": None}, "name is None"),
        ({"odd\n": 1}, r"has the unknown field 'odd\n'"),
    ],
)
def test_values_that_do_not_fit_are_named(change, words):
    with pytest.raises(InputError) as failed:
        build(Facts, GOOD | change, "file.json", "fix it")
    assert words in str(failed.value)
    assert str(failed.value).startswith("file.json")
    assert str(failed.value).endswith("; fix it")


def test_what_is_missing_is_named():
    with pytest.raises(InputError, match="f lacks name; fix it"):
        build(Facts, {}, "f", "fix it")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"\xff", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b'"text"', "holds no JSON object but 'text'"),
        (b" " * 2000, "larger than 1,000 bytes"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, monkeypatch, content, words):
    monkeypatch.setattr(json_files, "LARGEST_JSON", max(1000, len(content) if len(content) != 2000 else 0))
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(InputError) as failed:
        read_object(tmp_path / "f.json", "fix it")
    assert words in str(failed.value)
    assert str(failed.value).endswith("; fix it")


def test_a_folder_and_nothing(tmp_path):
    with pytest.raises(InputError, match="Is a directory"):
        read_object(tmp_path, "fix it")
    with pytest.raises(FileNotFoundError):
        read_object(tmp_path / "none.json", "fix it")


class Inner(TypedDict):
    name: str
    size: NotRequired[int]


class Outer(TypedDict):
    inner: Inner
    rows: list[Inner]


def test_objects_within_objects():
    good = {"inner": {"name": "x", "more": 1}, "rows": [{"name": "y", "size": 2}], "other": None}
    assert checked(good, Outer, "f", "fix it") == good
    for change, (value, words) in {
        "inner": ({"name": 1}, "f['inner']['name'] is 1, but must be a text; fix it"),
        "rows": (
            [{"size": 1}],
            "f['rows'][0], which lacks name, is {'size': 1}, but must be an object with name, size",
        ),
    }.items():
        with pytest.raises(InputError) as failed:
            checked(good | {change: value}, Outer, "f", "fix it")
        assert str(failed.value).startswith(words)
    with pytest.raises(InputError, match="f, which lacks inner,"):
        checked({}, Outer, "f", "fix it")
