"""The page about all strategies is true, and CONTRIBUTING's example works when followed to the letter."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headtohead.strategies import discover
from headtohead.strategies._catalogue import FAMILIES, Entry, read_catalogue
from headtohead.strategies.docs import DETAILS, MEANING, PAGE, page
from headtohead.strategies.docs.__main__ import main
from tests.paths import ROOT

CONTRIBUTING = ROOT / "CONTRIBUTING.md"


def test_the_page_is_up_to_date() -> None:
    assert main(["--check"]) == 0, "run python -m strategies.docs"


def test_an_outdated_page_is_found_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headtohead.strategies.docs.__main__.PAGE", tmp_path / "README.md")
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == page(read_catalogue())


@pytest.mark.parametrize("name", discover())
def test_every_strategy_says_all_that_the_page_shows(name: str) -> None:
    (entry,) = [entry for entry in read_catalogue() if entry.name == name]
    assert entry.family in FAMILIES and entry.family in MEANING
    assert not {*DETAILS, "At 124M"} - {"Seeds"} - set(entry.notes), "lines that the docstring lacks"
    assert f"### {name}\n" in PAGE.read_text(encoding="utf-8")


def test_an_unreadable_file_is_on_the_page() -> None:
    text = page([Entry("broken", Path("broken.py"), error="cannot be read: line 1")])
    assert "## broken" in text and "broken.py cannot be read: line 1" in text


def test_writing_the_page_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headtohead.strategies.docs.__main__ import main; main(['--check']);"
        "print([m for m in ('torch', 'pandas', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_strategy_in_five_minutes(tmp_path: Path) -> None:
    text = CONTRIBUTING.read_text(encoding="utf-8")
    section = text.partition("## A strategy in five minutes")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    (name,) = re.findall(r"Save this as `([\w.]+)`", section)
    commands = "".join(re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)).splitlines()
    assert len(commands) == 2 and len(code.splitlines()) < 35
    checkout = tmp_path / "headtohead"
    checkout.mkdir()
    shutil.copy(ROOT / "run_all.py", checkout)
    (checkout / name).write_text(code, encoding="utf-8")
    (tmp_path / "bin").mkdir()
    for name, arguments in {"python": "", "headtohead": " -m headtohead.experiments.command_line"}.items():
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HEADTOHEAD_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    for command in (commands[0], f"{commands[1]} --seeds 123 --epochs 1"):  # the last two only to be quick
        done = subprocess.run(
            command, shell=True, cwd=checkout, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "failed" not in done.stdout
    summary = (checkout / "results" / "demo-demo" / "summary.csv").read_text(encoding="utf-8")
    assert "my_biases" in summary and "head" in summary
