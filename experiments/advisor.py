"""Which strategy to take under the user's limits: candidates are ranked on validation, certainty comes from the tests.

The ranking never looks at a test message. What is said of how sure it is comes from the paired tests on the test
messages, and is never stronger than they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from headtohead.experiments.inference import LEVEL
from headtohead.experiments.record import RunRecord
from headtohead.experiments.report_settings import ReportSettings
from headtohead.experiments.statistics import StrategySummary, Summary, summarise


@dataclass(frozen=True)
class Limit:
    """One limit of the user's.

    Attributes:
        setting: the field of ReportSettings.
        of: what a finished run has of it, in the setting's unit; None where that is not known.
    """

    setting: str
    of: Callable[[RunRecord], float | None]


def train_seconds(run: RunRecord) -> float | None:
    """Training with the frozen prefix; None where the run shared its time with others."""
    if run.train_seconds is None or run.grouped:
        return None
    return run.train_seconds + (run.prefix_seconds or 0.0)


def latency_seconds(run: RunRecord) -> float | None:
    """Of one message, merged where that was measured."""
    milliseconds = run.latency_ms if run.merged_latency_ms is None else run.merged_latency_ms
    return None if milliseconds is None else milliseconds / 1000


LIMITS = (
    Limit("max_size", lambda run: run.classifier_bytes),
    Limit("max_train_time", train_seconds),
    Limit("max_latency", latency_seconds),
    Limit("max_memory", lambda run: run.peak_memory_bytes),
)


@dataclass(frozen=True)
class Excluded:
    """A strategy that is no candidate: the settings whose limit it breaks, and those of which it is not known."""

    label: str
    breaks: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    not_learned: bool = False


@dataclass(frozen=True)
class Advice:
    """What can be recommended.

    Attributes:
        summary: of the runs that count: with a limit on labels those of no more training messages.
        messages: how many training messages these had.
        ranked: candidates, the highest mean validation accuracy first.
        excluded: the others.
    """

    summary: Summary
    messages: int
    ranked: tuple[StrategySummary, ...]
    excluded: tuple[Excluded, ...]

    @property
    def first(self) -> StrategySummary | None:
        return self.ranked[0] if self.ranked else None

    @property
    def better_on_test(self) -> list[StrategySummary]:
        """Candidates that the tests show to be more accurate than the first: the ranking was chance."""
        return [row for row in self.ranked[1:] if self.differs(row, self.ranked[0]) > 0]

    @property
    def choice(self) -> StrategySummary | None:
        """The first, unless the tests show another one to be more accurate; then the first of those."""
        return self.better_on_test[0] if self.better_on_test else self.first

    def open_against(self, chosen: StrategySummary) -> list[StrategySummary]:
        """Candidates that are not shown to be below ``chosen``, nor above it."""
        return [row for row in self.ranked if row is not chosen and not self.differs(row, chosen)]

    def tested(self, one: StrategySummary, other: StrategySummary) -> bool:
        """Whether the two could be compared at all."""
        return self.summary.comparison(one.label, other.label) is not None

    def differs(self, one: StrategySummary, other: StrategySummary) -> int:
        """1 or -1 where ``one`` is shown to be more or less accurate than ``other``, else 0; adjusted for all pairs."""
        found = self.summary.comparison(one.label, other.label)
        if found is None or found.adjusted_p >= 1 - LEVEL:
            return 0
        sign = 1 if found.difference > 0 else -1
        return sign if found.first == one.label else -sign


def advise(summary: Summary) -> Advice | None:
    """None where no run finished."""
    if not summary.finished:
        return None
    asked = summary.experiment.asked
    counted, messages = _with_labels(summary, asked.labels)
    candidates, excluded = [], []
    together = sum(run.train_seconds or 0.0 for row in counted.finished for run in row.runs if run.grouped)
    for row in counted.finished:
        if row.is_baseline:
            continue  # it leaves no classifier that could be used
        reason = _reason(row, asked, together)
        if reason is None:
            candidates.append(row)
        else:
            excluded.append(reason)
    return Advice(counted, messages, tuple(rank(candidates)), tuple(excluded))


def rank(rows: Sequence[StrategySummary]) -> list[StrategySummary]:
    """By mean validation accuracy, then by trained parameters, then by name; nothing of the test messages counts."""
    return sorted(rows, key=lambda row: (-_validation(row), row.trainable_params or 0, row.label))


def _validation(row: StrategySummary) -> float:
    spread = row.spread("validation_accuracy")
    return spread.mean if spread else -1.0


def worst(row: StrategySummary, limit: Limit) -> float | None:
    """The largest value over the runs of which it is known; None where it is known of none."""
    return max((value for run in row.runs if (value := limit.of(run)) is not None), default=None)


def _reason(row: StrategySummary, asked: ReportSettings, together: float) -> Excluded | None:
    """Why a strategy is no candidate; None where it is one.

    Of runs that were timed together it is known that each alone takes no longer than all that were, ``together``.
    """
    breaks, unknown = [], []
    for limit in LIMITS:
        allowed, value = getattr(asked, limit.setting), worst(row, limit)
        if limit.setting == "max_train_time" and value is None and allowed is not None:
            most = together + max((run.prefix_seconds or 0.0 for run in row.runs), default=0.0)
            value = most if any(run.grouped for run in row.runs) and most <= allowed else None
        if allowed is not None and value is None:
            unknown.append(limit.setting)
        elif allowed is not None and value is not None and value > allowed:
            breaks.append(limit.setting)
    not_learned = row.learned is False
    if breaks or unknown or not_learned:
        return Excluded(row.label, tuple(breaks), tuple(unknown), not_learned)
    return None


def _with_labels(summary: Summary, labels: int | None) -> tuple[Summary, int]:
    """The comparison with the most training messages that are no more than ``labels``, and how many these are.

    That of all runs, with their number, where there is none or nothing was asked.
    """
    everything = int(summary.experiment.description["dataset"]["rows"]["train"])
    if labels is None or everything <= labels:
        return summary, everything
    sizes = [size for size in train_sizes(summary) if size <= labels]
    return (at_size(summary, max(sizes)), max(sizes)) if sizes else (summary, everything)


def train_sizes(summary: Summary) -> list[int]:
    """The numbers of training messages of which there are runs beside those with all."""
    return sorted(
        {run.train_size for run in summary.experiment.aside if run.ok and run.train_size is not None}
    )


def at_size(summary: Summary, size: int) -> Summary:
    """The comparison of the runs with ``size`` training messages."""
    records = tuple(run for run in summary.experiment.aside if run.role == "run" and run.train_size == size)
    return summarise(replace(summary.experiment, records=records, aside=(), others=(), missing={}))
