"""Any labelled text, end to end: each form of file trains and reports every class; bad ones are one sentence."""

import json
import random
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from headtohead.core import messages
from headtohead.core.data import load_dataset
from headtohead.core.errors import InputError
from headtohead.core.readers.rows import LabelledText
from headtohead.experiments import command_line
from tests import small

CLASSES = {
    "money": "stocks bank profit market shares",
    "sport": "match goal team player league",
    "tech": "software chip phone robot cloud",
    "world": "election treaty minister border war",
}


def rows_of(each: int = 24) -> list[LabelledText]:
    drawn = random.Random(5)
    rows = [
        LabelledText(label, f'{" ".join(drawn.choices(words.split(), k=6))}; "no. {number}", said')
        for number in range(each)
        for label, words in CLASSES.items()
    ]
    drawn.shuffle(rows)
    return rows


def cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def write_csv(path: Path, rows: list[LabelledText], separator: str = ",", encoding: str = "utf-8") -> str:
    lines = [
        separator.join(("Topic Text", "class")),
        *(f"{cell(row.text)}{separator}{row.label}" for row in rows),
    ]
    text = "\n".join(lines).replace("Topic Text", "text") + "\n"
    path.write_bytes(text.encode(encoding))
    return str(path)


def write_jsonl(path: Path, rows: list[LabelledText]) -> str:
    path.write_text("".join(json.dumps({"label": row.label, "text": row.text}) + "\n" for row in rows))
    return str(path)


def write_parquet(path: Path, rows: list[LabelledText]) -> str:
    pytest.importorskip("pyarrow")
    pd.DataFrame({"label": [row.label for row in rows], "text": [row.text for row in rows]}).to_parquet(path)
    return str(path)


def write_tree(path: Path, rows: list[LabelledText]) -> str:
    for number, row in enumerate(rows):
        (path / row.label).mkdir(parents=True, exist_ok=True)
        (path / row.label / f"{number:03}.txt").write_text(row.text)
    return str(path)


def flags_of(form: str, folder: Path) -> list[str]:
    rows = rows_of()
    if form == "splits":
        files = {"train": rows[:60], "validation": rows[60:76], "test": rows[76:]}
        named = {name: write_csv(folder / f"{name}.csv", part) for name, part in files.items()}
        return [word for name, file in named.items() for word in (f"--{name}", file)]
    write = {
        "csv": lambda: write_csv(folder / "a.csv", rows, ";", "utf-8-sig"),
        "jsonl": lambda: write_jsonl(folder / "a.jsonl", rows),
        "parquet": lambda: write_parquet(folder / "a.parquet", rows),
        "tree": lambda: write_tree(folder / "a", rows),
    }
    return ["--data", write[form]()]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "tree", "splits"])
def test_each_form_trains_and_reports_every_class(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.use_tiny_demo(monkeypatch)
    argv = ["--model", "demo", "--strategies", "head", "--epochs", "1", "--seeds", "1", "--name", "any"]
    argv += [*flags_of(form, tmp_path), "--results-dir", str(tmp_path / "results")]
    assert command_line.main(argv) == command_line.EXIT_OK
    (record,) = json.loads((tmp_path / "results" / "any" / "results.json").read_text())
    assert len(record["test_class_f1"]) == len(CLASSES)
    assert record["test_macro_f1"] is not None and record["before_test_accuracy"] is not None
    assert record["preparation"]["found"] == [24] * 4
    report = (tmp_path / "results" / "any" / "report.md").read_text()
    assert all(name in report for name in CLASSES) and "macro" in report and "Before finetuning" in report


def test_forms_hold_the_same_rows(tmp_path: Path) -> None:
    rows = rows_of()
    found = [
        messages.find(write(tmp_path / f"a{number}", rows)).rows
        for number, write in enumerate((write_csv, write_tree))
    ]
    found += [messages.find(write_jsonl(tmp_path / "a.jsonl", rows)).rows]
    assert all(sorted(map(repr, each)) == sorted(map(repr, rows)) for each in found)


def test_numbers_of_classes_get_the_names_that_a_parquet_file_holds(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"label": datasets.ClassLabel(names=["neg", "pos"]), "text": datasets.Value("string")}
    )
    data = datasets.Dataset.from_dict({"label": [0, 1], "text": ["bad", "good"]}, features=features)
    data.to_parquet(str(tmp_path / "a.parquet"))
    found = messages.find(str(tmp_path / "a.parquet")).rows
    assert found == [LabelledText("neg", "bad"), LabelledText("pos", "good")]


def test_ag_news_style() -> None:
    from headtohead.core.readers import read_labelled_texts

    table = '"3","Wall St. Bears","Short-sellers, again"\n"1","Title","Text ""here"""\n'
    found = read_labelled_texts(table.encode(), "train.csv")
    assert found == [
        LabelledText("3", "Wall St. Bears Short-sellers, again"),
        LabelledText("1", 'Title Text "here"'),
    ]


def test_splits_below_folders_and_in_a_tar_are_the_sources(tmp_path: Path) -> None:
    rows = rows_of()
    write_tree(tmp_path / "set" / "train", rows[:70])
    write_tree(tmp_path / "set" / "test", rows[70:])
    (tmp_path / "set" / "train" / "unsup").mkdir()
    (tmp_path / "set" / "train" / "unsup" / "1.txt").write_text("no class")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "set", "set")
    for source in ("set", "set.tar.gz"):
        data = load_dataset(str(tmp_path / source), context_length=64)
        assert (len(data.train), len(data.validation), len(data.test)) == (63, 7, 26)
        assert data.preparation is not None and data.preparation.own_splits


def test_balancing_is_not_the_default_where_it_throws_most_away(tmp_path: Path) -> None:
    rows = [LabelledText("a", f"text {n}") for n in range(100)] + [
        LabelledText("b", f"word {n}") for n in range(20)
    ]
    path = write_csv(tmp_path / "a.csv", rows)
    kept = [
        load_dataset(path, context_length=64, balance=balance).preparation.kept
        for balance in (None, True, False)
    ]
    assert kept == [(100, 20), (20, 20), (100, 20)]


def test_stratified_splits_have_the_same_shares(tmp_path: Path) -> None:
    rows = [LabelledText("a", f"text {n}") for n in range(60)] + [
        LabelledText("b", f"word {n}") for n in range(40)
    ]
    data = load_dataset(
        write_csv(tmp_path / "a.csv", rows), context_length=64, stratified=True, balance=False
    )
    assert [part.labels.tolist().count(1) for part in (data.train, data.validation, data.test)] == [28, 4, 8]


def test_duplicates_are_counted_and_removed_from_training_first(tmp_path: Path) -> None:
    rows = rows_of()
    train, test = rows[:70], rows[60:]
    files = {"train": write_csv(tmp_path / "a.csv", train), "test": write_csv(tmp_path / "b.csv", test)}
    counted = load_dataset(None, files=files, context_length=64)
    assert counted.test_texts_seen_in_train + counted.preparation.duplicates["test_in_validation"] == 10
    clean = load_dataset(None, files=files, context_length=64, drop_duplicates=True)
    assert clean.preparation.dropped == 10 and len(clean.test) == len(test)
    assert clean.preparation.duplicates["within_all"] == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"label": "a"\n', "line 1 is no JSON"),
        ("a.jsonl", "[1]\n", "instead of a JSON object"),
        ("a.jsonl", '{"label": "a", "text": null}\n', "line 1 has no text"),
        ("a.jsonl", '{"label": "a", "text": "\\ud800"}\n', "half a character"),
        ("a.jsonl", "", "is empty"),
        ("a.parquet", "PAR1 no", "is no Parquet file"),
    ],
)
def test_what_is_wrong_is_one_sentence(name: str, content: str, said: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        messages.find(str(tmp_path / name))


def test_folders_without_classes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no class")
    with pytest.raises(InputError, match=r"no \.txt files in folders"):
        messages.find(str(tmp_path))


def test_a_preview_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small.use_tiny_demo(monkeypatch)
    path = write_csv(tmp_path / "a.csv", rows_of(), ";", "utf-8-sig")
    argv = ["--model", "demo", "--data", path, "--input-preview", "--results-dir", str(tmp_path / "results")]
    assert command_line.main(argv) == command_line.EXIT_OK
    out = capsys.readouterr().out
    assert "separated by ';'" in out and "money 24" in out and out.count(" tokens: ") == 10
    assert not (tmp_path / "results").exists()
