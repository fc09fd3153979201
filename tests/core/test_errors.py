"""Whatever an error is made from, a terminal can print it as one line."""

import json

import pytest

from headtohead.core.errors import InputError, Unavailable, shown

NASTY = "a\nb\r\x1b[2J\x00\x07\u202e\u2028\udcff\x9b tab\t"


@pytest.mark.parametrize("kind", [InputError, Unavailable])
def test_an_error_is_one_line_without_control_characters(kind):
    text = str(kind(f"--data {NASTY}: ünï – ok"))
    assert text.isprintable()
    assert text.encode("utf-8")
    assert r"a\nb\r\x1b[2J\x00" in text
    assert "ünï – ok" in text
    assert f"{kind(NASTY)}".isprintable()


def test_a_long_error_keeps_both_ends():
    text = str(InputError(f"--data {'x' * 100_000} is no file; give one"))
    assert text.startswith("--data xxx")
    assert text.endswith("xxx is no file; give one")
    assert len(text) < 2100


@pytest.mark.parametrize(
    "value",
    [NASTY, "x" * 10_000, 10**6000, -(10**5000), [[[[[1]]]]] * 1000, {"a": "b" * 999}, None, 1.5],
    ids=range(8),
)
def test_shown_is_short_and_printable(value):
    assert shown(value).isprintable()
    assert len(shown(value)) < 250


def test_shown_is_what_python_writes():
    assert [shown(value) for value in ("x", 3, None, True, [1, "a"])] == [
        "'x'",
        "3",
        "None",
        "True",
        "[1, 'a']",
    ]


def test_shown_of_deep_nesting():
    deep = json.loads("[" * 500 + "]" * 500)
    assert shown(deep) == "[[[...]]]"
