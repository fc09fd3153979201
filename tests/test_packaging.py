"""One import name: what is installed is ``headtohead`` alone, from any folder, and every folder is part of it."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.paths import ROOT

SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
FOLDER_OF = SETUPTOOLS["package-dir"]


def folder(package: str) -> Path:
    """Where a package lies: its own entry in package-dir, or that of the nearest package above it."""
    rest: list[str] = []
    while package not in FOLDER_OF:
        package, _, last = package.rpartition(".")
        rest.insert(0, last)
    return ROOT.joinpath(FOLDER_OF[package], *rest)


def test_every_folder_with_code_is_installed() -> None:
    there = {
        path.parent for top in ("core", "strategies", "experiments") for path in (ROOT / top).rglob("*.py")
    }
    assert {folder(package) for package in SETUPTOOLS["packages"]} == there


def test_every_data_file_is_installed() -> None:
    listed = {
        path
        for package, patterns in SETUPTOOLS["package-data"].items()
        for pattern in patterns
        for path in folder(package).glob(pattern)
    }
    beside_code = {
        path
        for top in ("core", "strategies", "experiments")
        for path in (ROOT / top).rglob("*")
        if path.is_file() and (path.suffix not in (".py", ".pyc", ".md") or path.name == "NOTICE.md")
    }
    assert beside_code == listed


@pytest.mark.parametrize(
    "command", [["-m", "headtohead.experiments.command_line"], ["-c", "import headtohead"]]
)
def test_a_folder_with_its_own_core_is_no_trouble(command: list[str], tmp_path: Path) -> None:
    for name in ("core", "strategies", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('not ours')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *command, "--list"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_wheel_holds_one_import_name_and_runs_anywhere(tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(ROOT)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    assert sorted(path.name for path in site.iterdir() if "." not in path.name) == ["bin", "headtohead"]
    (elsewhere / "core").mkdir(parents=True)
    (elsewhere / "core" / "__init__.py").write_text("raise ImportError('not ours')", encoding="utf-8")
    code = (
        "import headtohead as h; print(h.__file__);"
        "print(h.compare(strategies=['head'], model='demo', data='demo', epochs=1).table())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site), "HEADTOHEAD_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(site)) and "head" in done.stdout
