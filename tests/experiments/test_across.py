"""Several experiments in one report: what differs is said, and nothing is tested across different test messages."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from headtohead.core.errors import InputError
from headtohead.experiments import report, sections, share
from headtohead.experiments.across import compare_folders
from headtohead.experiments.command_line import main
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.index import write_index
from headtohead.experiments.report import write_report
from headtohead.experiments.sections import compared
from headtohead.experiments.statistics import summarise
from tests.experiments import synthetic
from tests.experiments.synthetic import FOUR, write_synthetic


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_all", lambda summary: [])
    monkeypatch.setattr(sections, "_section_makers", lambda: (compared.section,))


@pytest.fixture
def other_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "TRAIN_CONFIG", {**synthetic.TRAIN_CONFIG, "epochs": 1})
        return write_synthetic(tmp_path / "short", FOUR[:2], (1, 2))


def test_the_same_protocol_gives_one_row_with_all_seeds(tmp_path: Path) -> None:
    ours = write_synthetic(tmp_path / "ours", FOUR[:2], (1, 2))
    theirs = write_synthetic(tmp_path / "theirs", FOUR[1:3], (2, 3))
    summary = compare_folders([ours, theirs], tmp_path / "results", "both")
    assert {row.label: sorted(run.seed for run in row.runs) for row in summary.rows} == {
        "head": [1, 2], "last_block": [1, 2, 3], "all_layers": [2, 3],
    }  # fmt: skip
    assert len(summary.comparisons) == 3
    text = (tmp_path / "results" / "both" / "report.md").read_text()
    assert "ours and theirs were tested on the same 300 messages" in text
    assert "Nothing else differs" in text


def test_what_differs_is_named_in_rows_and_words(tmp_path: Path, other_epochs: Path) -> None:
    ours = write_synthetic(tmp_path / "ours", FOUR[:2], (1, 2))
    summary = compare_folders([ours, other_epochs], tmp_path / "results")
    assert summary.experiment.directory.name == "compare-ours-short"
    assert [row.label for row in summary.rows] == [
        "head [ours]", "last_block [ours]", "head [short]", "last_block [short]",
    ]  # fmt: skip
    assert len(summary.comparisons) == 6  # the same messages: they may be compared
    text = (summary.experiment.directory / "report.md").read_text()
    assert "They differ in training: epochs" in text and "| training: epochs | 5 | 1 |" in text
    assert "only what is trained differs" not in text


def test_other_test_messages_are_not_tested_across(tmp_path: Path) -> None:
    ours = write_synthetic(tmp_path / "ours", FOUR[:2], (1, 2))
    theirs = write_synthetic(tmp_path / "theirs", FOUR[:2], (1, 2), n_test=200)
    summary = compare_folders([ours, theirs], tmp_path / "results", "both")
    assert [row.label for row in summary.rows] == ["head", "last_block"]
    (other,) = summary.others
    assert other.test_size == 200 and len(summary.comparisons) == len(other.comparisons) == 1
    text = (tmp_path / "results" / "both" / "report.md").read_text()
    assert "theirs was tested on 200 messages of its own" in text
    assert "Nothing is tested across different test messages" in text
    assert "## Under another protocol: other test messages (theirs)" in text


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    ours = write_synthetic(tmp_path / "ours", FOUR[:2])
    lone = write_synthetic(tmp_path / "lone", FOUR[:2])
    (lone / "data" / "test.csv").unlink()
    for paths, words in (
        ([ours], "two or more"),
        ([ours, tmp_path / "nowhere"], "nowhere"),
        ([ours, lone], "nobody knows what it was tested on"),
    ):
        with pytest.raises(InputError, match=words):
            compare_folders(paths, tmp_path / "results", "x")
    with pytest.raises(InputError, match="no comparison; choose another name"):
        compare_folders([ours, ours], tmp_path, "lone")
    assert (lone / "experiment.json").is_file() and not (tmp_path / "results").exists()
    assert main(["--compare", str(ours)]) == 2


def test_a_shared_file_is_compared_like_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_synthetic(tmp_path / "results" / "theirs", FOUR[:2], (1, 2))
    ours = write_synthetic(tmp_path / "results" / "ours", FOUR[:2], (3, 4))
    (ours / "runs" / "head-s3" / "classifier").mkdir()
    (ours / "runs" / "head-s3" / "classifier" / "classifier.safetensors").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path)
    assert share.main(["theirs"]) == 0 and share.main(["ours", "--output", "o.zip"]) == 0
    assert "--compare theirs.zip" in capsys.readouterr().out
    names = zipfile.ZipFile("o.zip").namelist()
    assert "ours/runs/head-s3/record.json" in names and not any("classifier" in name for name in names)
    shutil.rmtree(tmp_path / "results" / "theirs")
    assert main(["--compare", "theirs.zip", str(ours), "--name", "both"]) == 0
    rows = json.loads((tmp_path / "results" / "both" / "results.json").read_text())
    assert sorted({row["seed"] for row in rows}) == [1, 2, 3, 4]
    assert share.main(["gone"]) == 2 and not Path("gone.zip").exists()


@pytest.mark.parametrize(
    "name", ["../out.txt", "/out.txt", "x/../../out.txt", "C:/out.txt", "x\\..\\..\\out.txt"]
)
def test_a_file_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    ours = write_synthetic(tmp_path / "ours", FOUR[:2])
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, "out")
    with pytest.raises(InputError, match="do not trust"):
        compare_folders([ours, tmp_path / "bad.zip"], tmp_path / "results")
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(InputError, match=r"no\.zip is no zip file"):
        compare_folders([ours, tmp_path / "no.zip"], tmp_path / "results")


def test_the_index_lists_every_experiment_with_its_winner(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for name, size in (("small", 300), ("large", 2000)):
        write_report(
            summarise(load_experiment(write_synthetic(results / name, FOUR[:2], (1, 2, 3), n_test=size)))
        )
    broken = results / "a<b"
    broken.mkdir()
    (broken / "report.html").touch()
    compare_folders([results / "small", results / "large"], results, "both")
    page = write_index(results).read_text()
    assert page.count("better than every other beyond chance") == 2 and page.count(">last_block<") == 2
    assert 'href="small/report.html"' in page and "a comparison of several experiments" in page
    assert "a&lt;b</a>" in page and "experiment.json does not exist" in page


def test_the_index_survives_a_summary_of_an_earlier_version(tmp_path: Path) -> None:
    folder = write_synthetic(tmp_path / "old", FOUR[:2], (1, 2, 3), n_test=60)
    write_report(summarise(load_experiment(folder)))
    summary = folder / "summary.csv"
    lines = summary.read_text().splitlines()
    summary.write_text("\n".join([lines[0].replace("standing", "verdict"), *lines[1:]]))
    assert "has no column standing" in write_index(tmp_path).read_text()
    place = lines[0].split(",").index("test_accuracy_low")
    cells = [line.split(",") for line in lines[1:]]
    summary.write_text(
        "\n".join([lines[0], *(",".join([*row[:place], "x", *row[place + 1 :]]) for row in cells)])
    )
    assert "is damaged" in write_index(tmp_path).read_text()
