"""The house rules, read from syntax trees: which package imports which, how long functions are, what names what."""

import ast
import re
import statistics
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from headtohead.strategies import discover
from tests.paths import ROOT

# Each may import those before it, never one after it.
LAYERS = ("core", "strategies", "experiments", "run_all")
# These read records, so a report can be written where torch is not installed.
WITHOUT_TORCH = ("report", "plots", "statistics", "record")
LONGEST_FUNCTION = 60
LONGEST_MEDIAN = 14
# Strategies named by an English word or a part of the model, which core may well speak of.
ORDINARY_WORDS = {"head", "norms", "embeddings", "attention", "miss", "road", "majority", "peft"}
TOP_LEVEL = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "core", "experiments", "pyproject.toml",
    "results", "run_all.py", "strategies", "tests",
}  # fmt: skip


def files_of(layer: str) -> list[Path]:
    if layer == "run_all":
        return [ROOT / "run_all.py"]
    return sorted((ROOT / layer).rglob("*.py"))


SOURCES = [path for layer in LAYERS for path in files_of(layer)]
PYTHON = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def layer_of(module: str) -> str:
    """``"headtohead.core.model"`` -> ``"core"``."""
    return module.removeprefix("headtohead.").partition(".")[0]


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"


def imports(path: Path) -> Iterator[tuple[ast.AST, str]]:
    """Every imported module of a file, wherever in the file it is imported; names of ``from`` included."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{place(path, node)}: imports are absolute here"
            yield node, str(node.module)
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


@cache
def tracked() -> list[str]:
    """The files that are in git."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_one_way(layer: str) -> None:
    later = {*LAYERS[LAYERS.index(layer) + 1 :], "tests"}
    back = [
        f"{place(path, node)} imports {module}"
        for path in files_of(layer)
        for node, module in imports(path)
        if layer_of(module) in later
    ]
    assert not back, "\n".join(back)


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_reading_records_needs_no_torch(name: str) -> None:
    start = ROOT / "experiments" / f"{name}.py"
    seen, waiting = {start}, [start]
    while waiting:
        path = waiting.pop()
        for module in run_time_imports(path):
            top = module.partition(".")[0]
            assert top not in ("torch", "peft", "tensorflow"), (
                f"{name}.py reaches {path.name}, which imports {top}"
            )
            found = ROOT / f"{module.removeprefix('headtohead.').replace('.', '/')}.py"
            if found.is_file() and found not in seen:
                seen.add(found)
                waiting.append(found)


def run_time_imports(path: Path) -> Iterator[str]:
    """What a file imports when it runs: what stands under ``if TYPE_CHECKING`` is left out."""
    for_types = {
        child
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in ast.walk(node)
    }
    yield from (module for node, module in imports(path) if node not in for_types)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Where each function stands, and its lines."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{place(path, node)} {node.name}", node.end_lineno - node.lineno + 1


def test_no_function_is_long() -> None:
    every = [found for path in PYTHON for found in functions(path)]
    long = [f"{where}: {lines} lines" for where, lines in every if lines > LONGEST_FUNCTION]
    assert not long, "\n".join(long)


def test_functions_are_short_as_a_rule() -> None:
    assert statistics.median(lines for path in SOURCES for _, lines in functions(path)) <= LONGEST_MEDIAN


def strategy_names() -> set[str]:
    """File stems and class names of all strategies, less the ordinary words."""
    classes = {
        node.name
        for path in discover().values()
        for node in tree_of(path).body
        if isinstance(node, ast.ClassDef)
    }
    # A class named like its file in capitals ("Head") is as ordinary a word as the file's name.
    return {name for name in {*discover(), *classes} if name.lower() not in ORDINARY_WORDS}


def test_core_knows_no_strategy_by_name() -> None:
    names = re.compile(rf"\b({'|'.join(map(re.escape, sorted(strategy_names())))})\b")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files_of("core")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in names.finditer(line)
    ]
    assert not found, "\n".join(found)


def test_only_one_file_names_the_development_data() -> None:
    pattern = re.compile(r"\bshared\b['\"]?\s*[/\\]")
    found = {
        name for name in tracked() if pattern.search((ROOT / name).read_bytes().decode("utf-8", "replace"))
    }
    assert found == {"tests/paths.py"}


def test_the_top_level_is_what_the_readme_shows() -> None:
    top = {name.partition("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} == TOP_LEVEL
