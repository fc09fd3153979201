"""From a file to the strategy class in it: one loader for every command, which names an author's slip and its line.

A slip (a forgotten decorator, a missing method) is one sentence; an exception that the file's own code raises is left
as it is, with its traceback.
"""

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields
from pathlib import Path
from types import ModuleType
from typing import Any

from headtohead.core.errors import InputError
from headtohead.core.fields import annotations, is_settable
from headtohead.core.strategy import Baseline, Method, Strategy

_DECORATOR = "@dataclass(frozen=True, kw_only=True)"


def load_module(name: str) -> type[Method]:
    """The strategy class of an importable module.

    Raises:
        InputError: as :func:`load_file`.
    """
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    with _slips_in_words(Path(spec.origin)):
        module = importlib.import_module(name)
    return strategy_class_of(module)


def load_file(path: Path) -> type[Method]:
    """The strategy class of a file outside the packages (``--plugin FILE``).

    Raises:
        InputError: the file does not exist, is no Python file, or holds no sound strategy; with the line.
    """
    if not path.is_file() or path.suffix != ".py":
        raise InputError(f"--plugin {path}: no such Python file; give the path of a file like my_strategy.py")
    name = f"headtohead_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _slips_in_words(path):
        _refuse_bare_imports(path)
        sys.modules[name] = module  # dataclasses look their module up while the class is being made
        spec.loader.exec_module(module)
    return strategy_class_of(module)


def strategy_class_of(module: ModuleType) -> type[Method]:
    """The one Strategy or Baseline class that ``module`` defines, if it is sound."""
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Strategy | Baseline)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        lines = _Lines(Path(str(module.__file__)))
        names = ", ".join(f"{each.__name__} in line {lines.of(each.__name__)}" for each in found) or "none"
        raise InputError(
            f"{module.__file__} must define exactly one subclass of headtohead.core.strategy.Strategy or Baseline "
            f"(found: {names})"
        )
    _check_class(found[0], Path(str(module.__file__)))
    return found[0]


def _check_class(method: type[Method], path: Path) -> None:
    """Raise InputError for what Python lets pass, although the author meant something else."""
    name, lines = method.__name__, _Lines(path)
    for missing in sorted(getattr(method, "__abstractmethods__", ())):
        arguments = ", ".join(inspect.signature(getattr(method, missing)).parameters)
        raise _slip(path, lines.of(name), f"class {name} has no method {missing}({arguments})")
    typed = vars(method).get("__annotations__", {})
    own = [attribute for attribute, kind in typed.items() if "ClassVar" not in str(kind)]
    if own and "__dataclass_params__" not in vars(method):
        raise _slip(
            path,
            lines.of(name),
            f"class {name} needs {_DECORATOR} on the line above it, or {own[0]} is no field",
        )
    known = {field.name: field for field in fields(method)}
    for attribute, value in vars(method).items():
        inherited = attribute not in known and any(hasattr(base, attribute) for base in method.__bases__)
        if _looks_like_a_field(attribute, value) and attribute not in typed and not inherited:
            said = f"{attribute} = {value!r} has no type, so it is no field; write {attribute}: {type(value).__name__}"
            raise _slip(path, lines.of(name, attribute), f"{said} = {value!r} (or ClassVar for a constant)")
    try:
        kinds = annotations(method)
    except NameError as error:
        raise _slip(path, lines.of(name), f"the type of a field of {name} is unknown: {error}") from error
    for attribute, field in known.items():
        if field.default is MISSING and field.default_factory is MISSING:
            raise _slip(path, lines.of(name, attribute), f"the field {attribute} needs a default value")
        if not is_settable(kinds[attribute]):
            raise _slip(
                path,
                lines.of(name, attribute),
                f"the field {attribute} cannot be set from text: use bool, int, float, str, Literal, X | None or "
                "tuple[X, ...]",
            )
    try:
        method()
    except InputError as error:
        raise _slip(path, lines.of(name), f"the defaults of {name} are refused: {error}") from error


def _looks_like_a_field(attribute: str, value: Any) -> bool:
    return attribute.islower() and attribute[0] != "_" and isinstance(value, bool | int | float | str | tuple)


def _slip(path: Path, line: int, text: str) -> InputError:
    return InputError(f"{path}, line {line}: {text}")


@contextmanager
def _slips_in_words(path: Path) -> Iterator[None]:
    """Say what Python itself refuses in one sentence; any other exception passes."""
    try:
        yield
    except SyntaxError as error:
        where = error.filename or path
        raise InputError(f"{where}, line {error.lineno}: this is no valid Python ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text in UTF-8, as Python files are") from error
    except ImportError as error:
        text = f"{error}; install what is missing, or mend the import"
        raise _slip(path, line_in(path, error), text) from error
    except TypeError as error:
        if "non-frozen dataclass" not in str(error):
            raise
        text = f"a strategy cannot be changed once it is made: write {_DECORATOR}"
        raise _slip(path, line_in(path, error), text) from error


def line_in(path: Path, error: BaseException) -> int:
    """The line of a file that an exception went through last; 1 where it is in none."""
    lines, trace = [1], error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return lines[-1]


def _refuse_bare_imports(path: Path) -> None:
    """In a checkout ``import core...`` succeeds, and gives other classes than those that the commands use."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            first = name.partition(".")[0]
            if first in ("core", "strategies", "experiments") and importlib.util.find_spec(
                f"headtohead.{first}"
            ):
                text = f"{name} is imported by a name of its own here: import headtohead.{name}"
                raise _slip(path, getattr(node, "lineno", 1), text)


class _Lines:
    """Where things stand in a file."""

    def __init__(self, path: Path) -> None:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        self._classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def of(self, class_name: str, attribute: str | None = None) -> int:
        """The line of a class, or of an assignment in it."""
        node = self._classes.get(class_name)
        found = self._assignments(class_name).get(attribute or "")
        return found.lineno if found else node.lineno if node else 1

    def _assignments(self, class_name: str) -> dict[str, ast.stmt]:
        node = self._classes.get(class_name)
        found: dict[str, ast.stmt] = {}
        for statement in node.body if node else ():
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            targets = [statement.target] if isinstance(statement, ast.AnnAssign) else targets
            found |= {target.id: statement for target in targets if isinstance(target, ast.Name)}
        return found
