"""Each column of the comparison, declared once; report.md, report.html, the terminal and summary.csv follow.

A new metric is one declaration in :data:`COLUMNS`: what it is called and how it is written, which way is better,
where it is shown, and how early it leaves a narrow terminal. Nothing else names a column.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from headtohead.experiments.metrics import metrics_of
from headtohead.experiments.statistics import Spread, StrategySummary, Summary, Verdict
from headtohead.experiments.wording import (
    LEVEL_WORDS,
    NOT_LEARNED,
    STANDINGS,
    UNKNOWN,
    count,
    percent,
    rate,
    share,
    short_bytes,
    short_count,
    short_seconds,
)

if TYPE_CHECKING:
    import pandas as pd

Place = Literal["report.md", "report.html", "terminal", "summary.csv", "chooser"]
EVERYWHERE: frozenset[Place] = frozenset(("report.md", "report.html", "terminal", "summary.csv"))
TABLES: frozenset[Place] = EVERYWHERE - {"summary.csv"}
REPORTS: frozenset[Place] = TABLES - {"terminal"}
FILE: frozenset[Place] = frozenset(("summary.csv",))
MORE: frozenset[Place] = FILE | {"chooser"}  # in the page's table, where the reader asks for it
NOWHERE: frozenset[Place] = frozenset()
ARROWS = {"higher": "↑", "lower": "↓", None: ""}


@dataclass(frozen=True)
class Mark:
    """A sign beside a cell.

    Attributes:
        says: what the sign means, for the legend.
        on: whether a strategy's cell carries it.
        leads: the cell itself stands out.
    """

    sign: str
    says: str
    on: Callable[[Summary, StrategySummary], bool]
    leads: bool = False


@dataclass(frozen=True)
class Cell:
    """One cell: its number, in smaller type the spread over the seeds, its marks, and the number for sorting."""

    main: str
    small: str = ""
    marks: tuple[Mark, ...] = ()
    number: float | None = None

    @property
    def leads(self) -> bool:
        return any(mark.leads for mark in self.marks)

    @property
    def words(self) -> str:
        """The cell without its marks."""
        return f"{self.main} {self.small}".strip()

    @property
    def signs(self) -> str:
        return "".join(mark.sign for mark in self.marks)

    def __str__(self) -> str:
        return f"{self.words} {self.signs}".strip()


@dataclass(frozen=True, kw_only=True)
class Column:
    """One fact about every strategy.

    Attributes:
        key: its name in summary.csv, where it has the record's unit (fractions, seconds, bytes).
        name, unit: its heading; no unit where each cell names its own.
        of: a strategy's value: a Spread over its runs, a plain value, or None where it is unknown.
        written: one number (a mean, a deviation, a plain value) as text; ``brief`` the same for the terminal.
        better: which way is better, where one is.
        about: what it is, in a sentence.
        marks: the signs that its cells may carry.
        spreads: ``of`` gives a Spread; summary.csv then has ``<key>_sd`` beside it.
        deviation: how the deviation is written where it is not ``written``.
        shown: where the column appears.
        deviation_shown: where the deviation over the seeds and their number stand beside the mean.
        rank: in a terminal too narrow for all, the columns of the highest rank are left out first; 0 stays.
        if_any: the column is left out of tables where no strategy has a value.
        whose: what the data add to its name.
    """

    key: str
    name: str = ""
    unit: str = ""
    of: Callable[[Summary, StrategySummary], Any]
    written: Callable[[Any], str] = str
    brief: Callable[[Any], str] | None = None
    better: Literal["higher", "lower"] | None = None
    about: str = ""
    marks: tuple[Mark, ...] = ()
    spreads: bool = False
    deviation: Callable[[Spread], str] | None = None
    shown: frozenset[Place] = EVERYWHERE
    deviation_shown: frozenset[Place] = REPORTS
    rank: int = 9
    if_any: bool = False
    whose: Callable[[Summary], str] | None = None

    @property
    def heading(self) -> str:
        return f"{self.name} {self.unit}".strip()

    @property
    def arrow(self) -> str:
        """Which way is better, as a sign."""
        return ARROWS[self.better]

    @property
    def hint(self) -> str:
        """What the column is and which way is better, in words."""
        direction = f"{self.better} is better" if self.better else ""
        return "; ".join(part for part in (self.about, direction) if part)

    def carries_marks(self, summary: Summary) -> bool:
        """Whether some strategy's cell has a sign."""
        return any(row.runs and mark.on(summary, row) for mark in self.marks for row in summary.rows)

    def cell(self, summary: Summary, row: StrategySummary, place: Place) -> Cell:
        """What ``place`` shows of a strategy that has finished runs."""
        value = self.of(summary, row)
        if value is None:
            return Cell(UNKNOWN)
        written = self.brief if self.brief and place == "terminal" else self.written
        marks = tuple(mark for mark in self.marks if mark.on(summary, row))
        if not isinstance(value, Spread):
            return Cell(written(value), "", marks, value if isinstance(value, int | float) else None)
        small = ""
        if value.sd is not None and place in self.deviation_shown:
            around = self.deviation(value) if self.deviation else written(value.sd)
            small = f"± {around} ({value.n})"
        return Cell(written(value.mean), small, marks, value.mean)

    def fields(self, summary: Summary, row: StrategySummary) -> dict[str, Any]:
        """What summary.csv holds of a strategy."""
        value = self.of(summary, row)
        if not self.spreads:
            return {self.key: value}
        mean, sd = (value.mean, value.sd) if value else (None, None)
        return {self.key: mean, f"{self.key}_sd": sd}


# --- kinds of columns -----------------------------------------------------------------------------------


def measured(key: str, name: str = "", **more: Any) -> Column:
    """The mean over the seeds of the record's field ``key``."""
    return Column(key=key, name=name, of=lambda _, row: row.spread(key), spreads=True, **more)


def accuracy(key: str, name: str, **more: Any) -> Column:
    """A :func:`measured` share from 0 to 1, shown in percent."""
    return measured(key, name, unit="%", written=percent, better="higher", **more)


def timed(key: str, name: str = "", **more: Any) -> Column:
    """The same over the runs that were timed alone, where some were."""
    return Column(
        key=key, name=name, of=lambda _, row: row.timing(key), spreads=True, marks=(TOGETHER,), **more
    )


def seconds(key: str, name: str, **more: Any) -> Column:
    """A :func:`timed` duration."""
    return timed(key, name, written=short_seconds, better="lower", deviation=_deviation_seconds, **more)


def constant(key: str, name: str, **more: Any) -> Column:
    """The record's field ``key``, the same for every seed."""
    return Column(key=key, name=name, of=lambda _, row: row.constant(key), **more)


def plain(value: float) -> str:
    """A number as it is, with three significant digits."""
    return f"{value:.3g}"


def _deviation_seconds(spread: Spread) -> str:
    """With no more digits than the mean beside it."""
    assert spread.sd is not None
    return f"{spread.sd:.1f} s" if 0.1 <= spread.mean and spread.sd < 0.1 else short_seconds(spread.sd)


def _interval(value: tuple[float, float]) -> str:
    return f"{percent(value[0])}–{percent(value[1])}"


def standing(key: str, fact: str, **more: Any) -> Column:
    """The ``fact`` of how a strategy stands to the best one, for summary.csv."""
    return Column(
        key=key, of=lambda _, row: row.standing and getattr(row.standing, fact), **{"shown": FILE, **more}
    )


def _stands(verdict: Verdict) -> Callable[[Summary, StrategySummary], bool]:
    return lambda summary, row: row in summary.with_verdict(verdict)


# --- the declarations -----------------------------------------------------------------------------------

WINNER = Mark(
    "★",
    "better than every other strategy beyond chance",
    lambda summary, row: summary.clear_winner and row is summary.best,
    leads=True,
)
BEST = Mark(
    "◆",
    STANDINGS[Verdict.BEST],
    lambda summary, row: (
        len(summary.finished) > 1 and not summary.clear_winner and row in summary.with_verdict(Verdict.BEST)
    ),
    leads=True,
)
AS_GOOD = Mark("≈", STANDINGS[Verdict.AS_GOOD], _stands(Verdict.AS_GOOD), leads=True)
OPEN = Mark("?", STANDINGS[Verdict.OPEN], _stands(Verdict.OPEN))
UNLEARNED = Mark("✗", NOT_LEARNED, lambda _, row: row.learned is False)
TOGETHER = Mark(
    "‡",
    "several seeds were timed together: not comparable with runs timed alone",
    lambda _, row: row.timed_in_groups,
)

COLUMNS: tuple[Column, ...] = (
    Column(key="label", of=lambda _, row: row.label, shown=FILE),
    Column(key="strategy", of=lambda _, row: row.strategy, shown=FILE),
    Column(key="family", of=lambda _, row: row.family, shown=FILE),
    Column(key="runs_ok", of=lambda _, row: len(row.runs), shown=FILE),
    Column(key="runs_failed", of=lambda _, row: len(row.failed), shown=FILE),
    Column(key="runs_missing", of=lambda _, row: len(row.missing_seeds), shown=FILE),
    accuracy(
        "test_accuracy", "test acc.", about="share of the test messages that are classified correctly",
        marks=(WINNER, BEST, AS_GOOD, OPEN), deviation_shown=TABLES, rank=0,
    ),
    Column(
        key="test_interval", name=f"{LEVEL_WORDS} interval", of=lambda _, row: row.interval, written=_interval,
        about="where the test accuracy lies, over messages and seeds", shown=TABLES, rank=1,
    ),
    Column(
        key="test_accuracy_worst_seed", name="worst seed", unit="%", written=percent, better="higher", shown=MORE,
        about="lowest test accuracy of its runs",
        of=lambda _, row: min((run.test_accuracy for run in row.runs if run.test_accuracy is not None), default=None),
    ),
    Column(key="test_accuracy_low", of=lambda _, row: row.interval and row.interval[0], shown=FILE),
    Column(key="test_accuracy_high", of=lambda _, row: row.interval and row.interval[1], shown=FILE),
    constant(
        "trainable_params", "trained parameters", written=count, brief=short_count, better="lower",
        about="parameters that training changes", rank=2,
    ),
    constant("trainable_percent", "% of all", written=share, better="lower", about="of all parameters", rank=7),
    Column(
        key="learning_rate", name="learning rate", of=lambda _, row: row.learning_rate, written=rate, rank=8,
    ),
    accuracy("train_accuracy", "train acc.", about="the same on the training messages", marks=(UNLEARNED,), rank=4),
    accuracy("validation_accuracy", "valid. acc.", about="the same on the validation messages", rank=5),
    measured("test_loss", "test loss", written=plain, better="lower", about="mean cross-entropy", shown=MORE),
    accuracy("test_precision", "precision", shown=MORE),
    accuracy("test_recall", "recall", shown=MORE),
    accuracy(
        "test_f1", "F1", about="harmonic mean of precision and recall on the test messages", rank=6,
        whose=lambda summary: metrics_of(summary.experiment.description["dataset"]["label_names"]),
    ),
    measured("test_macro_f1", shown=FILE),
    measured("test_roc_auc", shown=FILE),
    measured("test_average_precision", shown=FILE),
    measured("test_brier", shown=FILE),
    measured("test_calibration_error", shown=FILE),
    measured("language_loss_before", shown=FILE),
    measured("language_loss_after", shown=FILE),
    seconds("train_seconds", "train time", about="wall time of training", rank=3),
    seconds(
        "prefix_seconds", "frozen prefix", about="wall time of computing the frozen blocks once per message",
        rank=11, if_any=True,
    ),
    seconds(
        "selection_seconds", "choosing settings", about="wall time of choosing settings before the final fit",
        rank=11, if_any=True,
    ),
    seconds("eval_seconds", "evaluation", about="wall time of evaluating", rank=10),
    seconds("setup_seconds", "setup", about="wall time before training", shown=MORE),
    seconds("total_seconds", "total time", about="wall time of a whole run", shown=MORE),
    timed(
        "examples_per_second", "examples per second", written=plain, better="higher", about="while training",
        shown=MORE,
    ),
    constant("flops_per_step", "", shown=FILE),
    measured(
        "latency_ms", "latency", unit="ms", written=plain, better="lower", shown=MORE,
        about="from the text of one message to its class",
    ),
    measured("latency_batch_ms", shown=FILE),
    measured("merged_latency_ms", shown=FILE),
    measured("merged_latency_batch_ms", shown=FILE),
    timed("train_joules", shown=FILE),
    Column(key="isolated", of=lambda _, row: all(run.isolated for run in row.runs) if row.runs else None, shown=FILE),
    timed(
        "peak_memory_bytes", "peak memory", written=short_bytes, better="lower", deviation_shown=NOWHERE,
        about="highest memory of a run", rank=4,
    ),
    timed(
        "memory_above_model_bytes", "memory above model", written=short_bytes, better="lower", deviation_shown=NOWHERE,
        about="highest memory of a run less that of the loaded model", rank=5, if_any=True,
    ),
    constant(
        "classifier_bytes", "size on disk", written=short_bytes, better="lower", about="of the saved classifier",
        rank=12,
    ),
    Column(key="timed_runs", of=lambda _, row: len(row.timed_runs), shown=FILE),
    Column(key="timed_in_groups", of=lambda _, row: row.timed_in_groups, shown=FILE),
    standing("standing", "verdict"),
    standing(
        "adjusted_p_against_best", "p_equal", name="p against the best", written=plain,
        about="adjusted p-value that it is as accurate as the best one", shown=MORE,
    ),
    standing("adjusted_p_beyond_margin", "p_beyond_margin"),
    standing("shortfall_limit", "shortfall_limit"),
    Column(key="adjusted_p_not_above_majority", of=lambda _, row: row.p_not_above_majority, shown=FILE),
    Column(key="learned", of=lambda _, row: row.learned, shown=FILE),
    Column(
        key="not_distinguishable_from_best", of=lambda summary, row: row.label in summary.leaders, shown=FILE
    ),
    Column(key="on_pareto_front", of=lambda summary, row: row.label in summary.pareto, shown=FILE),
)  # fmt: skip


# --- what follows from them -----------------------------------------------------------------------------


def shown_in(place: Place, summary: Summary) -> list[Column]:
    """The columns of one place, in their order."""
    return [
        replace(column, name=f"{column.name} {column.whose(summary)}") if column.whose else column
        for column in COLUMNS
        if place in column.shown
        and (
            not (column.if_any or place == "chooser")
            or any(column.of(summary, row) is not None for row in summary.rows)
        )
    ]


def legend(summary: Summary, columns: Sequence[Column]) -> list[str]:
    """A sentence for every mark that some cell of ``columns`` carries, and for what stands beside the means."""
    marks = dict.fromkeys(mark for column in columns for mark in column.marks)
    sentences = [
        f"{mark.sign} {mark.says}."
        for mark in marks
        if any(row.runs and mark.on(summary, row) for row in summary.rows)
    ]
    if summary.several_seeds:
        sentences.append("Mean ± standard deviation over the seeds (n runs).")
    return sentences


def summary_frame(summary: Summary) -> "pd.DataFrame":
    """summary.csv as a table: one line per strategy, the means as ``<key>``, their deviations as ``<key>_sd``."""
    import pandas as pd

    columns = [column for column in COLUMNS if "summary.csv" in column.shown]
    lines: list[dict[str, Any]] = []
    for row in summary.rows:
        line: dict[str, Any] = {}
        for column in columns:
            line |= column.fields(summary, row)
        lines.append(line)
    return pd.DataFrame(lines)
