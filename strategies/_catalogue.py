"""What strategy files say about themselves, read from their syntax trees.

Nothing is imported and nothing in a file is run, so ``--list`` needs no torch and answers at once, also for a
plugin that would fail when run.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from headtohead.strategies import discover

ROOT = Path(__file__).parent.parent
# The order in which families are shown; any other family follows.
FAMILIES = ("selective", "low-rank", "scaling", "orthogonal", "adapters", "prompts", "baselines")
_KEY = re.compile(r"([A-Z][\w ]*?):\s*(.*)")


@dataclass(frozen=True)
class Entry:
    """One strategy file: ``error`` says why where the file cannot be read, and the rest is then empty."""

    name: str
    path: Path
    family: str = "other"
    trains: str = ""  # the docstring's first line
    learning_rate: str = ""  # the default, as Python writes it
    notes: Mapping[str, str] = field(default_factory=dict)  # the docstring's "Key: value" lines
    fields: Mapping[str, str] = field(
        default_factory=dict
    )  # hyperparameters and their defaults, as Python writes them
    own: frozenset[str] = frozenset()  # the fields that the file itself names; the others are inherited
    error: str | None = None

    @property
    def at_124m(self) -> str:
        """Trainable parameters of the 124M model with two classes, "-" where the file does not say."""
        return self.notes.get("At 124M", "-")


def read_catalogue(plugins: Iterable[Path] = ()) -> list[Entry]:
    """The strategies of this folder and of plugin files, in the order of their names within each."""
    return [read_entry(path) for path in (*discover().values(), *plugins)]


def by_family(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """The readable entries by family, the families in the order of :data:`FAMILIES`."""
    groups: dict[str, list[Entry]] = {family: [] for family in FAMILIES}
    for entry in entries:
        if entry.error is None:
            groups.setdefault(entry.family, []).append(entry)
    return {family: group for family, group in groups.items() if group}


def read_entry(path: Path) -> Entry:
    """What one file says; a file that cannot be read or holds no strategy becomes an entry with an ``error``."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError) as error:
        return Entry(path.stem, path, error=f"cannot be read: {_reason(error)}")
    node = _strategy_class(tree)
    if node is None:
        return Entry(
            path.stem,
            path,
            error="holds no strategy: one class with a base class Strategy or Baseline is needed",
        )
    attributes, fields = _class_values(node, tree)
    text = ast.get_docstring(node) or ""
    family = attributes.get("family", "other")
    return Entry(
        name=path.stem,
        path=path,
        family=ast.literal_eval(family) if family[:1] in "'\"" else family,
        trains=text.partition("\n")[0],
        learning_rate=fields.pop("learning_rate", "-"),
        notes=read_notes(text),
        fields=fields,
        own=frozenset(_class_values_of(node, fields)[1]),
    )


def read_notes(text: str) -> dict[str, str]:
    """The ``Key: value`` lines of a docstring; a value goes on over the indented lines that follow it."""
    notes: dict[str, str] = {}
    key = None
    for line in text.splitlines():
        found = _KEY.fullmatch(line)
        if found:
            key = found[1]
            notes[key] = found[2].strip()
        elif key and line.startswith(" "):
            notes[key] = f"{notes[key]} {line.strip()}".strip()
        else:
            key = None
    return notes


def _reason(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"{error.msg} (line {error.lineno})"
    return getattr(error, "strerror", None) or str(error)


def _strategy_class(tree: ast.Module) -> ast.ClassDef | None:
    """The last class that has a strategy among its bases, or among the bases of its bases in the file."""
    strategies: list[ast.ClassDef] = []
    imported = set(_imported_names(tree))
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            known = imported | {each.name for each in strategies}
            if any(base in ("Strategy", "Baseline") or base in known for base in _base_names(node)):
                strategies.append(node)
    return strategies[-1] if strategies else None


def _imported_names(tree: ast.Module) -> Iterator[str]:
    """Names imported from a strategy's file: such a class is a strategy, too."""
    for name, module in _imports(tree).items():
        if module.startswith("headtohead.strategies."):
            yield name


def _imports(tree: ast.Module) -> dict[str, str]:
    """Imported name -> module, for every ``from module import name``."""
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _base_names(node: ast.ClassDef) -> list[str]:
    """``class A(Strategy, strategy.Strategy)`` -> the last part of each base's name."""
    return [ast.unparse(base).rpartition(".")[2] for base in node.bases]


def _class_values(node: ast.ClassDef, tree: ast.Module) -> tuple[dict[str, str], dict[str, str]]:
    """Class attributes and dataclass fields with their defaults as Python writes them, inherited ones first."""
    attributes: dict[str, str] = {}
    fields: dict[str, str] = {}
    for base in reversed(_base_names(node)):
        found = _find_class(base, tree)
        if found is not None:
            inherited_attributes, inherited_fields = _class_values(*found)
            attributes |= inherited_attributes
            fields |= inherited_fields
    own_attributes, own_fields = _class_values_of(node, fields)
    return attributes | own_attributes, fields | own_fields


def _class_values_of(node: ast.ClassDef, inherited: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The same of one class without its bases; a plain assignment to an inherited field is a field, too."""
    known = set(inherited)
    attributes: dict[str, str] = {}
    fields: dict[str, str] = {}
    for statement in node.body:
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and statement.value
        ):
            is_field = "ClassVar" not in ast.unparse(statement.annotation)
            (fields if is_field else attributes)[statement.target.id] = ast.unparse(statement.value)
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            name = statement.targets[0].id
            (fields if name in known | set(fields) else attributes)[name] = ast.unparse(statement.value)
    return attributes, fields


def _find_class(name: str, tree: ast.Module) -> tuple[ast.ClassDef, ast.Module] | None:
    """A class of this file, or of a file of this project that it is imported from; None for any other."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return node, tree
    module = _imports(tree).get(name)
    path = ROOT / f"{(module or '').removeprefix('headtohead.').replace('.', '/')}.py"
    if module is None or not path.is_file():
        return None
    return _find_class(name, _own_tree(path))


@cache
def _own_tree(path: Path) -> ast.Module:
    """The syntax tree of a file of this project, which stays as it is while a process runs."""
    return ast.parse(path.read_text(encoding="utf-8"))
