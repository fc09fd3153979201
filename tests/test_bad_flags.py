"""Flag values that cannot be meant: each is one sentence and exit code 2, before anything is written."""

from pathlib import Path

import pytest

from headtohead.experiments import command_line
from tests.experiments.tiny import use_tiny_demo, write_messages

DEMO = ["--model", "demo", "--data", "demo"]
BAD = [
    ["--epochs", "99999999999999999999999"],
    ["--epochs", "9" * 5000],
    ["--epochs", "-1"],
    ["--epochs", "1.5"],
    ["--epochs", "\uff15"],  # full-width digits
    ["--epochs", "1_000"],
    ["--epochs", "0x10"],
    ["--epochs", ""],
    ["--epochs", " "],
    ["--epochs", "nan"],
    ["--batch-size", "0"],
    ["--batch-size", "1e3"],
    ["--batch-size", "1000001"],
    ["--max-length", "0"],
    ["--max-length", "100000"],
    ["--max-length", "²"],
    ["--seeds", ""],
    ["--seeds", "1,1"],
    ["--seeds", "\uff11\uff12"],
    ["--seeds", "1;2"],
    ["--seeds", "9" * 400],
    ["--seeds", "-1"],
    ["--strategies="],
    ["--strategies", ",,"],
    ["--strategies", "head\x1b[31m"],
    ["--strategies", "head\nlora"],
    ["--strategies", "low_rank"],
    ["--strategies", "x" * 100_000],
    ["--set", "head"],
    ["--set", "=3"],
    ["--set", "head.=3"],
    ["--set", "lora.r=4", "--strategies", "head"],
    ["--tune", "0"],
    ["--tune", "many"],
    ["--tune", "1000001"],
    ["--tune-seeds", "1"],
    ["--tune", "2", "--tune-seeds", "1,1"],
    ["--tune-full"],
    ["--untuned"],
    ["--sweep", "head"],
    ["--sweep", "head.learning_rate=1e-3"],
    ["--sweep", "head.learning_rate=1e-3/x"],
    ["--sweep", "head.r=1/2"],
    ["--sweep", "haed.r=1/2"],
    ["--sweep", "head.learning_rate=1e-3/1e-2", "--strategies", "head@learning_rate=1e-3"],
    ["--plugin", ""],
    ["--plugin", "nowhere.py"],
    ["--plugin", "."],
    ["--model", ""],
    ["--model", "124m"],
    ["--model", "demo", "--weights-dir", "w"],
    ["--model", "hf:"],
    ["--model", "hf:../../etc"],
    ["--model", "hf:a/b/c"],
    ["--model", "hf:nobody/nothing"],
    ["--model", "hf:gpt2", "--weights-dir", "w"],
    ["--weights", "radnom"],
    ["--weights", ""],
    ["--weights-dir="],
    ["--weights-dir", "nowhere"],
    ["--weights-dir", "a-file"],
    ["--data="],
    ["--data", "x" * 5000],
    ["--data", "nowhere.csv"],
    ["--data", "."],
    ["--data", "a\0b"],
    ["--label-column", ""],
    ["--position", "first-ish"],
    ["--readout", "lastreal"],
    ["--readout", "last,mean"],
    ["--causal-mask", "no"],
    ["--position", ""],
    ["--device", "cuda:99999999999999999999"],
    ["--device", "cuda:\uff11"],
    ["--device", "gpu"],
    ["--device", ""],
    ["--precision", "fp8"],
    ["--bf16-prefix"],
    ["--preset", "bok"],
    ["--cache-dir="],
    ["--cache-dir", "a-file"],
    ["--cache-dir", "a-file/below"],
    ["--cache-dir", "/proc/nowhere"],
    ["--cache-budget", "lots"],
    ["--cache-budget", "999999999TB"],
    ["--cache-budget", "9" * 400],
    ["--cache-budget", "-1GB"],
    ["--cache-budget", "nanGB"],
    ["--results-dir="],
    ["--results-dir", "a-file"],
    ["--results-dir", "bad\udcff"],
    ["--results-dir", "/proc/nowhere"],
    ["--results-dir", "x" * 300],
    ["--name="],
    ["--name", "con"],
    ["--name", "NUL.txt"],
    ["--name", "lpt1"],
    ["--name", "a/b"],
    ["--name", "x" * 101],
    ["--name", ".hidden"],
    ["--max-false-positive-rate", "0"],
    ["--max-false-positive-rate", "100%"],
    ["--max-false-positive-rate", "few"],
    ["--price-per-hour", "-1"],
    ["--price-per-hour", "0"],
    ["--price-per-hour", "nan"],
    ["--reference", "--compile"],
    ["--reference", "--cache-dir", "c"],
    ["--reference", "--cache-budget", "1GB"],
    ["--no-cache", "--cache-dir", "c"],
    ["--no-cache", "--cache-budget", "1GB"],
    ["--launcher", "slurm"],
    ["--address", "here:1"],
    ["--address="],
    ["--cpus-per-run", "2"],
    ["--launcher", "ray", "--cpus-per-run", "0"],
    ["--launcher", "ray", "--gpus-per-run", "-1"],
    ["--launcher", "ray", "--gpus-per-run", "1.5"],
    ["--launcher", "ray", "--gpus-per-run", "9999"],
    ["--launcher", "ray", "--max-concurrent", "0"],
    ["--launcher", "ray", "--retries", "101"],
    ["--launcher", "ray", "--device", "cuda:1"],
    ["--shard", "0/2", "--seeds", "1"],
    ["--shard", "3/2", "--seeds", "1"],
    ["--shard", "half", "--seeds", "1"],
    ["--shard", "1/2"],
    ["--merge", "nowhere"],
    ["--merge="],
    ["--merge", "a-file", "--name", "x"],
    ["--list", "--report-only"],
    ["--list", "--dry-run"],
    ["--report-only", "--name", "never-run"],
    ["--report-only"],
    ["--epochs"],
    ["--nothing"],
]


@pytest.mark.parametrize(
    "argv", BAD, ids=lambda argv: " ".join(argv).encode("ascii", "replace").decode()[:40]
)
def test_a_bad_flag_is_one_sentence_and_writes_nothing(
    argv: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use_tiny_demo(monkeypatch, tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("")
    given = {word for word in argv if word.startswith("--")} | {word.partition("=")[0] for word in argv}
    demo = [] if {"--model", "--weights-dir"} & given else DEMO[:2]
    demo += [] if "--data" in given else ["--data", str(write_messages(tmp_path / "messages.tsv"))]
    before = sorted(tmp_path.rglob("*"))
    try:
        code = command_line.main([*demo, "--offline", *argv])
    except SystemExit as stopped:  # argparse's own way out
        code = stopped.code  # type: ignore[assignment]
    shown = capsys.readouterr().err
    assert code == 2
    assert shown.startswith("error: ") and shown.count("\n") == 1 and len(shown) < 2100
    assert shown[:-1].isprintable()
    assert sorted(tmp_path.rglob("*")) == before
