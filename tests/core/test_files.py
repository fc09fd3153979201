"""Whole files or none, and scratch folders that outlive no process for long."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headtohead.core.errors import InputError
from headtohead.core.files import atomic_directory, cache_dir, file_errors, scratch_folder
from tests.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from headtohead.core.files import atomic_directory, scratch_folder
with {context}(Path(sys.argv[1])) as folder:
    (folder / "file").write_text("x")
    print("ready", flush=True)
    time.sleep(60)
"""


def holder(context: str, path: Path) -> subprocess.Popen[str]:
    """Another process that is in the middle of its work."""
    command = [sys.executable, "-c", HOLD.format(context=context), str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def test_scratch_is_gone_afterwards(tmp_path):
    with scratch_folder(tmp_path / "below") as first, scratch_folder(tmp_path / "below") as second:
        assert first != second
        assert list(first.iterdir()) == list(second.iterdir()) == []
        (first / "a" / "b").mkdir(parents=True)
    assert list(tmp_path.rglob("*")) == [tmp_path / "below"]
    with pytest.raises(KeyError), scratch_folder(tmp_path):
        raise KeyError
    assert list(tmp_path.rglob("*")) == [tmp_path / "below"]


def test_scratch_of_a_killed_process_is_removed_by_the_next_and_that_of_a_living_one_is_not(tmp_path):
    dead, alive = holder("scratch_folder", tmp_path), holder("scratch_folder", tmp_path)
    try:
        before = set(tmp_path.rglob("file"))
        assert len(before) == 2
        kill(dead)
        with scratch_folder(tmp_path):
            (left,) = set(tmp_path.rglob("file"))
            assert left in before
    finally:
        kill(alive)
    with scratch_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_many_at_once_keep_their_folders(tmp_path):
    def work(number: int) -> str:
        with scratch_folder(tmp_path) as folder:
            (folder / "file").write_text(str(number))
            return (folder / "file").read_text()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(400))) == [str(number) for number in range(400)]
    assert list(tmp_path.iterdir()) == []


def test_a_directory_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "target"
    for text in ("one", "two"):
        with atomic_directory(target) as folder:
            (folder / text).write_text(text)
            assert not (target / text).exists()
        assert [path.name for path in target.iterdir()] == [text]
    with pytest.raises(KeyError), atomic_directory(target) as folder:
        (folder / "three").write_text("")
        raise KeyError
    kill(holder("atomic_directory", target))
    assert [path.name for path in target.iterdir()] == ["two"]
    with atomic_directory(target):
        pass
    assert list(tmp_path.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_a_cache_that_is_a_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="cache is a file; set the environment variable HEADTOHEAD_CACHE"):
        cache_dir()


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "x" * 5000, "a/../b"])
def test_a_cache_of_an_odd_name_is_left_to_who_writes_there(name, monkeypatch):
    monkeypatch.setenv("HEADTOHEAD_CACHE", name)
    assert cache_dir() == Path(name)


def test_what_the_file_system_refuses_is_one_sentence(tmp_path):
    with (
        pytest.raises(
            InputError, match=r"reading x is not possible \(.*x: No such file or directory\); fix it"
        ),
        file_errors("reading x", "fix it"),
    ):
        (tmp_path / "x").read_text()
