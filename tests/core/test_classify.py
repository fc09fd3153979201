"""The command that asks classifiers: one or all of an experiment, from arguments, files or a pipe, in three formats."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headtohead
from headtohead import strategies
from headtohead.core.classifier import load_classifier
from headtohead.core.classify import find_classifiers, main
from headtohead.core.engine import Engine
from headtohead.core.errors import InputError
from headtohead.core.texts import texts_of
from headtohead.core.training import TrainConfig
from headtohead.core.weights import find_pretrained
from tests import small

TEXTS = ["WIN a prize now", "see you at eight", 'with "quotes", and a comma']


@pytest.fixture(autouse=True)
def tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    small.use_tiny_demo(monkeypatch)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two strategies, one of them with two seeds."""
    folder = tmp_path_factory.mktemp("results") / "exp"
    with pytest.MonkeyPatch.context() as patch:
        small.use_tiny_demo(patch)
        engine = Engine(find_pretrained("demo", None), small.dataset(), TrainConfig(epochs=1))
        for label, seed in (("head", 1), ("head", 2), ("last_block", 1)):
            (variant,) = strategies.build_variants([label])
            engine.fit(variant, seed, folder / "runs" / f"{label}-s{seed}-0" / "classifier")
    return folder


NAMES = ["head, seed 1", "head, seed 2", "last_block"]


def test_an_experiment_answers_side_by_side(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(experiment), *TEXTS]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split("\t") == [
        *(cell for name in NAMES for cell in (name, "probability")),
        "text",
    ]
    runs = [experiment / "runs" / name for name in ("head-s1-0", "head-s2-0", "last_block-s1-0")]
    alone = [load_classifier(run).classify(TEXTS) for run in runs]
    for number, line in enumerate(lines):
        cells = line.split("\t")
        assert cells[-1] == TEXTS[number]
        expected = [cell for answers in alone for cell in (answers[number][0], f"{answers[number][1]:.4f}")]
        assert cells[:-1] == expected


def test_csv_and_json_lines(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = experiment / "runs" / "last_block-s1-0"
    expected = load_classifier(run).classify(TEXTS)
    assert main([str(run), *TEXTS, "--output", "csv", "--latency"]) == 0
    output = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(output.out)))
    assert [row["text"] for row in rows] == TEXTS
    assert [row["label"] for row in rows] == [label for label, _ in expected]
    assert all(float(row["latency_ms"]) > 0 for row in rows)
    assert output.err.startswith("last_block: median ") and "3 messages one by one" in output.err
    assert main([str(run), *TEXTS, "--output", "jsonl"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["probability"] for each in objects] == pytest.approx([value for _, value in expected])
    assert all(sum(each["probabilities"].values()) == pytest.approx(1, abs=1e-5) for each in objects)
    assert main([str(experiment), TEXTS[0], "--output", "jsonl"]) == 0
    assert list(json.loads(capsys.readouterr().out)["answers"]) == NAMES


def test_python_gives_the_same(experiment: Path) -> None:
    answers = headtohead.classify(experiment, TEXTS)
    assert list(answers) == NAMES == list(headtohead.load_classifiers(experiment))
    timed = headtohead.classify(experiment / "runs" / "head-s1-0", TEXTS, latency=True)
    assert [each.label for each in timed["head"]] == [each.label for each in answers["head, seed 1"]]
    assert all(each.milliseconds is not None for each in timed["head"])


def test_files_of_messages(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("first\n\nsecond\n")
    (tmp_path / "b.csv").write_bytes("\ufeffid;text\r\n1;dritte äöü\r\n2;\r\n".encode())
    (tmp_path / "c.jsonl").write_text('{"body": "fourth", "n": 1}\n')
    files = [word for name in ("a.txt", "b.csv", "c.jsonl") for word in ("--input", str(tmp_path / name))]
    assert main([str(experiment / "runs" / "head-s1-0"), *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in lines] == ["first", "second", "dritte äöü", "fourth"]
    assert texts_of(tmp_path / "b.csv", "id") == ["1", "2"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"\n", "holds no messages"),
        ("a.csv", b"x,y\n1,2\n", "no single column with a usual name"),
        ("a.jsonl", b"{\n", "line 1 is no JSON"),
        ("a.jsonl", b"[1]\n", "instead of a JSON object"),
        ("a.jsonl", b'{"a": 1, "b": 2}\n', "--text-column"),
    ],
)
def test_files_that_hold_none(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        texts_of(tmp_path / name)


def test_what_is_refused(experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(experiment), "text", "--output", "xml"]) == 2
    assert main([str(tmp_path), "text"]) == 2
    assert main([str(experiment), "--input", str(tmp_path / "nowhere.txt")]) == 2
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())
    assert list(find_classifiers(experiment / "runs" / "head-s1-0")) == ["head"]


STREAM = """
import sys
from pathlib import Path
import pytest
from headtohead.core.classify import main
from tests import small
small.use_tiny_demo(pytest.MonkeyPatch())
sys.exit(main([sys.argv[1]]))
"""


def test_a_pipe_is_answered_while_it_is_open(experiment: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STREAM, str(experiment / "runs" / "head-s1-0")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        for text in (b"first message", b"second message"):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().rstrip().endswith(text)  # while standard input is open
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0
