"""Reading strategy files without importing them, and the table of --list."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from headtohead.experiments.console import print_catalogue
from headtohead.strategies import discover
from headtohead.strategies._catalogue import read_catalogue, read_entry, read_notes
from tests.paths import ROOT


def plugin(folder: Path, body: str, name: str = "mine") -> Path:
    path = folder / f"{name}.py"
    path.write_text(body, encoding="utf-8")
    return path


def rendered(plugins: list[Path], width: int = 110) -> str:
    file = io.StringIO()
    print_catalogue(Console(file=file, width=width), read_catalogue(plugins))
    return file.getvalue()


def test_every_strategy_file_is_listed_and_readable() -> None:
    entries = read_catalogue()
    assert [entry.name for entry in entries] == list(discover())
    assert all(entry.error is None and entry.trains for entry in entries)


@pytest.mark.parametrize("name", ["head", "last_block", "all_layers", "lora"])
def test_what_is_read_is_what_the_class_says(name: str) -> None:
    from headtohead.core.strategy_files import load_module

    strategy_class = load_module(f"headtohead.strategies.{name}")
    entry = read_entry(discover()[name])
    assert entry.trains == strategy_class.describe()
    assert entry.family == strategy_class.family
    assert float(entry.learning_rate) == strategy_class().learning_rate
    assert float(entry.fields["weight_decay"]) == strategy_class().weight_decay
    assert entry.at_124m.replace(",", "").isdigit()


def test_an_inherited_strategy_inherits_fields_and_family(tmp_path: Path) -> None:
    path = plugin(
        tmp_path,
        "from headtohead.strategies.lora import Lora\n\nclass Small(Lora):\n    '''Small LoRA.'''\n    r: int = 2\n",
    )
    entry = read_entry(path)
    assert (entry.family, entry.learning_rate, entry.fields["r"], entry.at_124m) == (
        "low-rank",
        "0.0008",
        "2",
        "-",
    )


def test_notes_go_on_over_indented_lines_and_stop_at_the_next_key() -> None:
    notes = read_notes(
        "What it trains.\n\nReference: A et al.\n  (2020): a title.\nWhen: always.\nfree text\n  more"
    )
    assert notes == {"Reference": "A et al. (2020): a title.", "When": "always."}


@pytest.mark.parametrize(
    ("body", "reason"),
    [("def broken(:\n", "line 1"), ("x = 1\n", "holds no strategy"), (None, "No such file")],
)
def test_an_unreadable_file_is_a_row_not_a_crash(tmp_path: Path, body: str | None, reason: str) -> None:
    path = tmp_path / "mine.py" if body is None else plugin(tmp_path, body)
    assert reason in (read_entry(path).error or "")
    text = rendered([path])
    assert "mine" in text and reason in text and "last_block" in text


def test_a_plugin_that_would_fail_when_imported_is_listed(tmp_path: Path) -> None:
    body = "from headtohead.core.strategy import Strategy\nraise OSError\nclass Mine(Strategy):\n    '''Biases.'''"
    assert "Biases." in rendered([plugin(tmp_path, body)])


def test_the_table_names_everything_that_is_asked_of_it() -> None:
    text = rendered([])
    for word in ("selective", "low-rank", "head", "7,090,946", "0.0008", "5e-05", "r=16"):
        assert word in text


def test_reading_the_catalogue_imports_nothing_heavy() -> None:
    code = (
        "import sys; from headtohead.strategies._catalogue import read_catalogue; read_catalogue();"
        "print([m for m in ('torch', 'pandas', 'peft') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
