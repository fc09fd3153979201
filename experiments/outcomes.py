"""Finished runs in the terminal: the rows of a table that grows, or a line each where nothing is drawn.

Whatever comes from a file, a flag or an error is printed as text, never as markup. Imports nothing heavy, as
:mod:`.console`, which uses it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.text import Text

from headtohead.experiments.tables import continued, visible

if TYPE_CHECKING:
    from headtohead.experiments.record import RunRecord

SEED, ACCURACY, TIME = 6, 13, 9  # columns of the numbers behind a run's name
NARROWEST = 16  # columns of the name
BESIDE = "  "


class Outcomes:
    """What is printed of runs as they end.

    In a terminal they are a table below one heading. A row is printed once and never drawn again, so a window that
    changes its size does it no harm. Nothing is printed here: who calls holds a lock that the drawing needs, too.

    Args:
        names: of all runs that are to come, of which the longest sets its column's width.
    """

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self.console = console
        self.done, self.total = 0, len(names)
        self._place = max(len(f"{self.total}/{self.total}"), len("run"))
        room = console.width - self._place - SEED - ACCURACY - TIME - 4 * len(BESIDE)
        longest = max((cell_len(visible(name)) for name in names), default=0)
        self._name = max(NARROWEST, min(longest, room))

    def ended(self, record: "RunRecord", where: str = "", time_left: str = "") -> RenderableType:
        """A run has ended, well or not; ``where`` it ran is said, ``time_left`` only where none is drawn."""
        self.done += 1
        note = Text(f" on {visible(where)}" if where else "", style="dim")
        if not self.console.is_terminal:
            rest = f" ({time_left})" if time_left and self.done < self.total else ""
            return outcome_line(f"[{self.done}/{self.total}]", record).append(note).append(rest)
        row = self._row(record, note)
        if self.done > 1:
            return row
        return Group(self._head("valid. acc. %" if record.role == "trial" else "test acc. %"), row)

    def _head(self, accuracy: str) -> Text:
        cells = ("run".rjust(self._place), "strategy".ljust(self._name), "seed".rjust(SEED))
        return Text(
            BESIDE.join((*cells, accuracy.rjust(ACCURACY), "time".rjust(TIME))), style="bold", no_wrap=True
        )

    def _row(self, record: "RunRecord", note: Text) -> Text:
        first, *more = continued(name_of(record), self._name).split("\n")
        padded = first + " " * (self._name - cell_len(first))
        row = Text(f"{self.done}/{self.total}".rjust(self._place) + BESIDE).append(padded, style="bold")
        row.append(f"{BESIDE}{record.seed:>{SEED}}{BESIDE}")
        if record.ok:
            accuracy, seconds = _numbers(record)
            row.append(accuracy.rjust(ACCURACY)).append(BESIDE + seconds.rjust(TIME), style="dim")
        else:
            row.append("failed", style="bold red").append(visible(f": {record.error}"))
        row.append(note)
        for line in more:
            row.append("\n" + " " * (self._place + len(BESIDE)) + line, style="bold")
        return _with_warnings(row, record)


def run_name(label: str, size: int | None, split: str | None, trial_epochs: int | None) -> str:
    """What a run is called: its label, and in what it differs from a run on the whole split for all epochs."""
    epochs = f"{trial_epochs} epoch{'' if trial_epochs == 1 else 's'}"
    kind = "" if trial_epochs is None else f"trial, {epochs}, "
    return kind + label + (f", {size} messages" if size else "") + (f", split {split}" if split else "")


def name_of(record: "RunRecord") -> str:
    """:func:`run_name` of a run that has ended."""
    epochs = record.train_config.get("epochs") if record.role == "trial" else None
    return run_name(record.label, record.train_size, record.split, epochs)


def outcome_line(number: str, record: "RunRecord") -> Text:
    """A run that has ended, in one line."""
    line = Text(visible(f"{number} {name_of(record)}, seed {record.seed}: "))
    if not record.ok:
        return line.append("failed", style="bold red").append(visible(f": {record.error}"))
    accuracy, seconds = _numbers(record)
    split = "validation" if record.role == "trial" else "test"
    unit = " %" if accuracy[-1].isdigit() else ""
    line.append(f"{split} accuracy {accuracy}{unit}").append(f" in {seconds}", style="dim")
    return _with_warnings(line, record)


def _numbers(record: "RunRecord") -> tuple[str, str]:
    """The accuracy in percent that counts for this run, and its time."""
    from headtohead.experiments.wording import UNKNOWN, short_seconds

    found = record.validation_accuracy if record.role == "trial" else record.test_accuracy
    accuracy = UNKNOWN if found is None else f"{100 * found:.2f}"
    return accuracy, UNKNOWN if record.total_seconds is None else short_seconds(record.total_seconds)


def _with_warnings(line: Text, record: "RunRecord") -> Text:
    for warning in record.warnings if record.ok else ():
        line.append("\n  note: " + visible(warning), style="yellow")
    return line
