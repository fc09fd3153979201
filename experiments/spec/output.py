"""Where results go, and what their folders may be called."""

import re
from dataclasses import dataclass
from pathlib import Path

from headtohead.core.errors import InputError
from headtohead.experiments.flags import check_folder, flag, read_path

# No file names on Windows.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """Where results go and what is done with those that are there."""

    results_dir: Path = flag(Path("results"), "--results-dir", "(default: results)", "DIR", read_path)
    name: str | None = flag(
        None, "--name", "the experiment's folder (default: DATA-MODEL)", "NAME", lambda text, name: text
    )
    force: bool = flag(False, "--force", "do finished runs again, too")
    log: str | None = flag(
        None,
        "--log",
        "book: print every run's history in the chapter's lines (they are in its log.txt, too)",
        "book",
    )
    only: bool = flag(
        False,
        "--only",
        "report this command's runs alone, not all that the folder holds of the same protocol",
    )
    tensorboard: bool = flag(
        False, "--tensorboard", "event files for TensorBoard in the experiment's folder (extra `tensorboard`)"
    )
    mlflow: bool = flag(
        False, "--mlflow", "the runs in MLflow, too, where MLFLOW_TRACKING_URI says (extra `mlflow`)"
    )

    def __post_init__(self) -> None:
        if self.log not in (None, "book"):
            raise InputError(f"--log {self.log}: use book, or leave it out")
        if self.name is not None:
            check_name(self.name)
        check_folder("--results-dir", self.results_dir)


def check_name(name: str, flag: str = "--name") -> None:
    """Raise InputError unless ``name`` can be one plain folder's name on any system."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+=@-]{0,99}", name) or name.endswith("."):
        raise InputError(
            f"{flag} {name!r}: must be a plain folder name of letters, digits and . _ + = @ - (at most 100, "
            "beginning with a letter, a digit or _)"
        )
    if _RESERVED.fullmatch(name):
        raise InputError(f"{flag} {name}: Windows reserves this name for a device; choose another")


def safe_name(text: str) -> str:
    """``text`` with everything that a file name may not hold replaced by ``-``, at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._+=@-]+", "-", text)[:80].strip(".-") or "unnamed"
