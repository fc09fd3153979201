"""The page that lists a folder's experiments: ``results/index.html``, written again with every report."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from headtohead.core.errors import InputError
from headtohead.core.files import write_text_atomic
from headtohead.experiments import page
from headtohead.experiments.across import COMPARISON_FILE
from headtohead.experiments.folder import EXPERIMENT_FILE, read_description
from headtohead.experiments.wording import UNKNOWN, percent

INDEX_FILE = "index.html"
NEEDED = ("label", "standing", "test_accuracy", "test_accuracy_low", "test_accuracy_high")  # of summary.csv


@dataclass(frozen=True)
class Entry:
    """One experiment in the list; ``trouble`` says why nothing is known of it."""

    name: str
    link: str
    made: str = ""
    model: str = ""
    data: str = ""
    strategies: int = 0
    seeds: int = 0
    winner: str = ""
    standing: str = ""
    accuracy: float | None = None
    interval: str = ""
    demo: bool = False
    trouble: str = ""

    @property
    def percent(self) -> str:
        return UNKNOWN if self.accuracy is None else percent(self.accuracy)


def write_index(results_dir: Path) -> Path:
    """Write ``results_dir/index.html`` from the reports in its folders; returns its path."""
    entries = [
        _entry(folder) for folder in sorted(results_dir.iterdir()) if (folder / "report.html").is_file()
    ]
    style, script = page.style(), page.script()
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("index.html.j2").render(
        entries=sorted(entries, key=lambda entry: entry.made, reverse=True),
        title=results_dir.resolve().name,
        style=Markup(style),
        script=Markup(script),
        data=Markup(page.embedded({})),
        policy=page.policy(style, script),
    )
    path = results_dir / INDEX_FILE
    write_text_atomic(path, text)
    return path


def _entry(folder: Path) -> Entry:
    link = f"{quote(folder.name)}/report.html"
    if (folder / COMPARISON_FILE).is_file() and not (folder / EXPERIMENT_FILE).is_file():
        return Entry(folder.name, link, standing="a comparison of several experiments")
    try:
        return _described(folder, link, read_description(folder))
    except InputError as error:
        return Entry(folder.name, link, trouble=str(error))
    except (KeyError, TypeError, ValueError) as error:
        trouble = f"{EXPERIMENT_FILE} or summary.csv is damaged ({error!r}); write the report again with --report-only"
        return Entry(folder.name, link, trouble=trouble)


def _described(folder: Path, link: str, about: Mapping[str, Any]) -> Entry:
    rows = _summary(folder / "summary.csv")
    best = next((row for row in rows if row["standing"] == "best"), None)
    known = [row for row in rows if row["test_accuracy"]]
    clear = len(known) > 1 and all(row["standing"] == "below" for row in known if row is not best)
    entry = Entry(
        folder.name,
        link,
        made=str(about.get("created_at", "")),
        model=about["model"]["name"],
        data=about["dataset"]["name"],
        strategies=len(rows),
        seeds=len(about["seeds"]),
        demo=about["model"]["is_demo"] or about["dataset"]["is_demo"],
    )
    if best is None:
        return Entry(**{**vars(entry), "standing": "no run finished"})
    low, high = float(best["test_accuracy_low"]), float(best["test_accuracy_high"])
    found = {
        "winner": best["label"],
        "standing": "better than every other beyond chance"
        if clear
        else "the highest; not shown to be the best",
        "accuracy": float(best["test_accuracy"]),
        "interval": f"{percent(low)}–{percent(high)}",
    }
    return Entry(**{**vars(entry), **found})


def _summary(path: Path) -> list[dict[str, str]]:
    """The lines of a summary.csv.

    Raises:
        InputError: it is missing, cannot be read, or lacks a column, as one that an earlier version wrote.
    """
    import csv

    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if missing := set(NEEDED) - set(reader.fieldnames or ()):
                raise ValueError(f"it has no column {', '.join(sorted(missing))}")
            return list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read ({error}); write the report again with --report-only"
        ) from error
