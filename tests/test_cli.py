"""The command line: flags, exit codes, one-sentence errors, and the embedded default."""

import subprocess
import sys
from pathlib import Path

import pytest

from headtohead.experiments import command_line
from tests.experiments.tiny import FAILS, use_tiny_demo, write_messages, write_plugin
from tests.paths import ROOT

HEAVY = ("torch", "pandas", "numpy", "peft", "tensorflow", "matplotlib", "sklearn", "transformers")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with an empty cache and the tiny demo model."""
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exit_code(*argv: str) -> int:
    try:
        return command_line.main(argv)
    except SystemExit as stopped:  # argparse's own way out
        assert isinstance(stopped.code, int)
        return stopped.code


@pytest.mark.parametrize(
    "argv", [["--help"], ["--list"], ["--list", "--plugin", "nowhere.py"], ["--epochs", "0"]]
)
def test_quick_answers_import_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys\nfrom headtohead.experiments import command_line\n"
        "try: command_line.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        f"print('heavy:', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "heavy: []"


def test_help_names_every_flag_of_the_design(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    text = capsys.readouterr().out
    flags = (
        "strategies model weights-dir data seeds epochs batch-size max-length preset set device results-dir name force "
        "reference report-only list plugin label-column text-column no-balance position offline"
    )
    assert all(f"--{flag} " in text or f"--{flag}\n" in text for flag in flags.split())


def test_list_shows_plugins_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = write_plugin(folder, "fails", FAILS)
    assert exit_code("--list", "--plugin", str(plugin)) == 0
    text = capsys.readouterr().out
    assert "fails" in text and "last_block" in text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--seedz", "1"], "did you mean --seeds?"),
        (["--seed", "1"], "did you mean --seeds?"),
        (["head"], "no flag 'head'"),
        (["--epochs", "x"], "--epochs"),
        (["--epochs", "0"], "--epochs 0: must be 1 or more"),
        (["--seeds", "1,x"], "'x' is not a whole number"),
        (["--model", "124"], "did you mean '124M'"),
        (["--preset", "bok"], "did you mean 'book'"),
        (["--device", "gpu"], "--device gpu"),
        (["--name", "../x"], "plain folder name"),
        (["--strategies", ","], "--strategies is empty"),
        (["--strategies", "haed"], "did you mean 'head'"),
        (["--strategies", "lora@rank=4"], "has no field 'rank'"),
        (["--set", "lora"], "NAME.FIELD=VALUE"),
        (["--plugin", "nowhere.py"], "no such Python file"),
        (["--report-only"], "--report-only needs --name"),
        (["--model", "demo", "--data", "nowhere.csv"], "nowhere.csv"),
        (["--model", "124M", "--offline"], "GPT-2 124M"),
        (["--weights-dir", "nowhere"], "nowhere"),
        (["--model", "demo", "--data", "sms_spam", "--offline"], "SMS Spam Collection"),
    ],
)
def test_an_error_is_one_sentence_and_exit_code_2(
    folder: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert exit_code(*argv) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1
    assert said in shown.err
    assert not (folder / "results").exists()


def test_without_weights_and_data_the_demo_runs_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("--offline", "--strategies", "head", "--epochs", "1", "--device", "cpu") == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert shown.index("DEMO") < shown.index("headtohead")
    for words in (
        "GPT-2 124M is not in",
        "SMS Spam Collection",
        "--weights-dir DIR",
        "--data FILE",
        "network",
    ):
        assert words in shown
    results = folder / "results" / "demo-demo"
    assert "DEMO" in (results / "report.md").read_text(encoding="utf-8")
    assert list((results / "plots").glob("*.png"))


def test_each_of_model_and_data_falls_back_on_its_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = write_messages(folder / "mine.tsv")
    argv = ["--offline", "--strategies", "head", "--epochs", "1", "--device", "cpu", "--data", str(messages)]
    assert exit_code(*argv) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "embedded demo model:" in shown and "demo messages" not in shown
    assert (folder / "results" / "mine-demo" / "report.md").is_file()


def test_messages_too_long_for_the_demo_model_that_stands_in(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "long.tsv"
    rows = [f"{label}\t{'word ' * 100}{label} {number}" for label in ("a", "b") for number in range(20)]
    path.write_text("Label\tText\n" + "\n".join(rows), encoding="utf-8")
    assert exit_code("--offline", "--data", str(path)) == 2
    error = capsys.readouterr().err
    assert "the embedded demo model, which reads 64 tokens, stands in" in error and "--max-length" in error


def test_a_failing_run_gives_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin, messages = write_plugin(folder, "fails", FAILS), write_messages(folder / "mine.tsv")
    argv = [
        "--model",
        "demo",
        "--data",
        str(messages),
        "--strategies",
        "head",
        "--plugin",
        str(plugin),
        "--epochs",
        "1",
    ]
    assert exit_code(*argv, "--device", "cpu") == 1
    assert "traceback.txt" in capsys.readouterr().out.replace("\n", "")


def test_an_interruption_gives_exit_code_130(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from headtohead.core.engine import Engine

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "fit", interrupt)
    messages = write_messages(folder / "mine.tsv")
    assert exit_code("--model", "demo", "--data", str(messages), "--device", "cpu") == 130
    assert "the same command continues" in capsys.readouterr().out
