"""The summary of an experiment in numbers: what each strategy reached, what may be said of it, and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from headtohead.experiments.folder import LoadedExperiment
from headtohead.experiments.inference import (
    LEVEL,
    Evidence,
    Interval,
    above_share,
    interval_without_answers,
)
from headtohead.experiments.record import RunRecord
from headtohead.experiments.sequential import Sequential

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


BASELINES = "baselines"  # the family of strategies that train no GPT


class Verdict(StrEnum):
    """How a strategy stands to the one with the highest test accuracy."""

    BEST = "best"  # it is that one: a point estimate, not a claim
    AS_GOOD = "as good"  # shown to be no more than MARGIN below it
    OPEN = "too few data to tell"
    BELOW = "below"  # shown to be less accurate
    UNTESTED = "not tested"  # one seed, or no predictions: nothing is claimed


@dataclass(frozen=True)
class Standing:
    """A strategy against the best one, with the numbers behind the verdict (None where it is not tested).

    Attributes:
        difference: its mean test accuracy less the best one's.
        p_equal: adjusted p-value that both are equally accurate.
        p_beyond_margin: adjusted p-value that it is MARGIN or more below.
        shortfall_limit: how far it is below at most, one-sided at LEVEL; negative where it would even be above.
    """

    verdict: Verdict
    difference: float
    p_equal: float | None = None
    p_beyond_margin: float | None = None
    shortfall_limit: float | None = None

    @property
    def within_margin(self) -> bool:
        """Whether it is the best one or shown to be no more than MARGIN below, be it distinguishable or not."""
        return self.verdict == Verdict.BEST or (
            self.p_beyond_margin is not None and self.p_beyond_margin < 1 - LEVEL
        )


@dataclass(frozen=True)
class Learning:
    """Whether training did anything: each run's train accuracy against always naming the most frequent class.

    Attributes:
        majority_share: share of the most frequent class among the training messages.
        p_values: seed -> one-sided exact binomial p-value that the run is not above it.
    """

    majority_share: float
    p_values: dict[int, float]

    @property
    def failed_seeds(self) -> tuple[int, ...]:
        return tuple(seed for seed, p_value in self.p_values.items() if p_value >= 1 - LEVEL)


@dataclass(frozen=True)
class Spread:
    """Mean, sample standard deviation (None below two values) and number of values."""

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> "Spread | None":
        """The spread of the known values; None where none is known."""
        known = [float(value) for value in values if value is not None]
        if not known:
            return None
        if len(known) == 1:
            return cls(known[0], None, 1)
        alike = len(set(known)) == 1  # the mean of equal numbers may be another in its last digit
        return cls(float(np.mean(known)), 0.0 if alike else float(np.std(known, ddof=1)), len(known))


@dataclass(frozen=True)
class Comparison:
    """Two strategies on the same test messages: ``difference`` is accuracy(first) - accuracy(second)."""

    first: str
    second: str
    difference: float
    p_value: float
    adjusted_p: float  # that no two strategies of the experiment that differ this much are equally accurate


@dataclass(frozen=True)
class StrategySummary:
    """One row of the report: a variant with all its runs."""

    label: str
    strategy: str
    family: str
    description: str
    learning_rate: float | None
    hyperparameters: dict[str, Any]
    runs: tuple[RunRecord, ...]  # finished without error
    failed: tuple[RunRecord, ...]
    missing_seeds: tuple[int, ...]  # asked for, but without a record
    interval: Interval | None = None  # of the test accuracy; the best one's allows for its having been picked
    standing: Standing | None = None  # None without a finished run
    p_not_above_majority: float | None = None  # adjusted; None without predictions
    learning: Learning | None = None  # None for baselines, and where nothing is known

    @property
    def is_baseline(self) -> bool:
        """Whether it uses no training of the GPT at all: a seed may change nothing, and not learning is no failure."""
        return self.family == BASELINES

    @property
    def within_margin(self) -> bool:
        return self.standing is not None and self.standing.within_margin

    @property
    def above_majority(self) -> bool | None:
        """Whether its test accuracy is shown to exceed that of naming the most frequent class; None if untested."""
        return None if self.p_not_above_majority is None else self.p_not_above_majority < 1 - LEVEL

    @property
    def learned(self) -> bool | None:
        """Whether every run's train accuracy is above that of naming the most frequent class; None if unknown."""
        return None if self.learning is None else not self.learning.failed_seeds

    def spread(self, name: str) -> Spread | None:
        """Mean, sd and n of the record field ``name`` over the finished runs."""
        return Spread.of([getattr(run, name) for run in self.runs])

    def timing(self, name: str) -> Spread | None:
        """As :meth:`spread`, over the runs that were timed alone; over the grouped ones only where all are."""
        return Spread.of([getattr(run, name) for run in self.timed_runs])

    @property
    def timed_runs(self) -> tuple[RunRecord, ...]:
        alone = tuple(run for run in self.runs if not run.grouped)
        return alone or self.runs

    @property
    def timed_in_groups(self) -> bool:
        """Whether the timings shown were taken while several seeds trained at once."""
        return bool(self.runs) and all(run.grouped for run in self.runs)

    @property
    def test_accuracy(self) -> float | None:
        spread = self.spread("test_accuracy")
        return spread.mean if spread else None

    @property
    def trainable_params(self) -> int | None:
        return self.constant("trainable_params")

    def constant(self, name: str) -> Any:
        """A field that does not depend on the seed, from the first run that knows it; None where none does."""
        return next((value for run in self.runs if (value := getattr(run, name)) is not None), None)

    def collected(self, name: str) -> list[str]:
        """The sentences of all runs in the list field ``name`` ("warnings") or in the plan, each once, in order."""
        lists = [
            run.plan.get("words", []) if name == "plan" else getattr(run, name)
            for run in self.runs + self.failed
        ]
        return list(dict.fromkeys(str(sentence) for each in lists for sentence in each))


@dataclass(frozen=True)
class Summary:
    """An experiment in numbers; everything the report, the plots and the terminal table say comes from here."""

    experiment: LoadedExperiment
    rows: tuple[StrategySummary, ...]
    comparisons: tuple[Comparison, ...]
    unpaired: tuple[str, ...]  # finished strategies that could not be compared message by message
    truth: tuple[int, ...] | None = field(repr=False)  # class of each test message; None where unknown

    def table(self) -> "pd.DataFrame":
        """One line per variant, as in summary.csv: means, deviations, intervals."""
        from headtohead.experiments.columns import summary_frame

        return summary_frame(self)

    def plot(self, which: str = "accuracy_vs_parameters") -> "Figure":
        """One of the report's plots as a matplotlib figure.

        Args:
            which: accuracy_vs_parameters, test_accuracy, loss, accuracy, train_time or peak_memory.

        Raises:
            InputError: there is no such plot, or no data for it.
        """
        from headtohead.experiments.plots import draw

        return draw(self, which)

    def _repr_html_(self) -> str:
        """What a notebook shows: the answer and the comparison table."""
        from headtohead.experiments.notebook import summary_html

        return summary_html(self)

    @cached_property
    def others(self) -> "tuple[Summary, ...]":
        """The folder's runs under other protocols, each a comparison of its own."""
        return tuple(summarise(other) for other in self.experiment.others)

    def classes(self, split: str) -> np.ndarray | None:
        """The class of each message of data/<split>.csv (N,); None where the file is absent."""
        return _classes(self.experiment, split)

    def texts(self, split: str) -> list[str] | None:
        """The messages of data/<split>.csv; None where the file is absent."""
        import pandas as pd

        path = self.experiment.directory / "data" / f"{split}.csv"
        return (
            pd.read_csv(path, keep_default_na=False)["Text"].astype(str).tolist() if path.is_file() else None
        )

    @property
    def finished(self) -> list[StrategySummary]:
        return [row for row in self.rows if row.test_accuracy is not None]

    @property
    def failed(self) -> list[RunRecord]:
        return [run for row in self.rows for run in row.failed]

    @property
    def several_seeds(self) -> bool:
        return len(self.experiment.description["seeds"]) > 1

    @property
    def families(self) -> list[str]:
        """The families present, in the order of their first strategy."""
        return list(dict.fromkeys(row.family or "other" for row in self.rows))

    @cached_property
    def best(self) -> StrategySummary | None:
        """The highest mean test accuracy; on a tie the fewest trainable parameters. A point estimate, not a claim."""
        return _best(self.rows)

    def with_verdict(self, *verdicts: Verdict) -> list[StrategySummary]:
        """The finished strategies that stand so to the best one."""
        return [row for row in self.finished if row.standing and row.standing.verdict in verdicts]

    @cached_property
    def leaders(self) -> tuple[str, ...]:
        """Labels of those that may be the best: it, and all that are not shown to be below it."""
        below = {row.label for row in self.with_verdict(Verdict.BELOW)}
        return tuple(row.label for row in self.finished if row.label not in below)

    @property
    def clear_winner(self) -> bool:
        """Whether one strategy may be called best: every other one is shown to be below it."""
        return len(self.finished) > 1 and len(self.leaders) == 1

    @property
    def contenders(self) -> int:
        """Of how many strategies the best one was picked, those that are shown to be below it left out."""
        return len(self.leaders)

    @property
    def not_learned(self) -> list[StrategySummary]:
        """Strategies of which some run's train accuracy is not above that of naming the most frequent class."""
        return [row for row in self.finished if row.learned is False]

    def comparison(self, one: str, other: str) -> Comparison | None:
        """The paired comparison of two labels, whichever way round it was made."""
        return next((each for each in self.comparisons if {each.first, each.second} == {one, other}), None)

    @cached_property
    def pareto(self) -> tuple[str, ...]:
        """Labels on the Pareto front (no other is more accurate with as few parameters), fewest parameters first."""
        points = [(row.label, row.trainable_params, row.test_accuracy) for row in self.finished]
        return pareto_front(
            [(name, size, value) for name, size, value in points if size is not None and value is not None]
        )

    @property
    def test_size(self) -> int:
        return int(self.experiment.description["dataset"]["rows"]["test"])

    @property
    def majority_share(self) -> float | None:
        """Share of the most frequent class of the test messages: what always saying the same would reach."""
        return float(np.bincount(self.truth).max() / len(self.truth)) if self.truth else None


def pareto_front(points: Sequence[tuple[str, int, float]]) -> tuple[str, ...]:
    """Names of the (name, parameters, accuracy) that no other point beats in one and matches in the other.

    Sorted by parameters; of equal points the first is named.
    """
    front, best = [], -1.0
    for name, _, accuracy in sorted(points, key=lambda point: (point[1], -point[2])):
        if accuracy > best:
            front.append(name)
            best = accuracy
    return tuple(front)


def sequential_of(experiment: LoadedExperiment) -> Sequential | None:
    """How far a sequential experiment has come; None where seeds were not added until pairs were settled."""
    values = experiment.description.get("sequential")
    return Sequential.read(values) if values else None


def evidence_of(summary: Summary) -> tuple[Evidence, list[str]] | None:
    """The answers of the strategies that have any, and their labels; None for fewer than two."""
    truth = None if summary.truth is None else np.array(summary.truth)
    answers = {row.label: found for row in summary.rows if (found := answers_of(row.runs, truth)) is not None}
    if len(answers) < 2:
        return None
    fixed = [row.is_baseline and _alike(answers[row.label]) for row in summary.rows if row.label in answers]
    return Evidence.of(list(answers.values()), fixed), list(answers)


def summarise(experiment: LoadedExperiment) -> Summary:
    """Everything the report says in numbers, from an experiment's records and its data/{train,test}.csv."""
    sequential = sequential_of(experiment)
    factor = sequential.factor if sequential else 1.0
    truth, train = _classes(experiment, "test"), _classes(experiment, "train")
    rows = [_measured(experiment, wanted, train) for wanted in experiment.description["strategies"]]
    answers = {row.label: found for row in rows if (found := answers_of(row.runs, truth)) is not None}
    unpaired = tuple(row.label for row in rows if row.runs and row.label not in answers)
    comparisons: tuple[Comparison, ...] = ()
    if answers and truth is not None and len(truth) > 1:
        fixed = [row.is_baseline and _alike(answers[row.label]) for row in rows if row.label in answers]
        evidence = Evidence.of(list(answers.values()), fixed)
        comparisons = _compare_all(evidence, list(answers), factor)
        rows = _judged(rows, evidence, list(answers), truth, factor)
    return Summary(
        experiment, tuple(rows), comparisons, unpaired, tuple(truth) if truth is not None else None
    )


def _measured(
    experiment: LoadedExperiment, wanted: dict[str, Any], train: np.ndarray | None
) -> StrategySummary:
    """A strategy's runs, with what does not depend on the other strategies."""
    runs = [record for record in experiment.records if record.label == wanted["label"]]
    finished = tuple(run for run in runs if run.ok and run.test_accuracy is not None)
    accuracies = [run.test_accuracy for run in finished if run.test_accuracy is not None]
    size = int(experiment.description["dataset"]["rows"]["test"])
    return StrategySummary(
        label=wanted["label"],
        strategy=wanted["strategy"],
        family=wanted.get("family") or "other",
        description=wanted.get("description") or "",
        learning_rate=wanted.get("learning_rate"),
        hyperparameters=wanted.get("hyperparameters") or {},
        runs=finished,
        failed=tuple(run for run in runs if run not in finished),
        missing_seeds=experiment.missing.get(wanted["label"], ()),
        interval=interval_without_answers(accuracies, size) if accuracies else None,
        learning=None if wanted.get("family") == BASELINES else _learning(experiment, finished, train),
    )


def _best(rows: Sequence[StrategySummary]) -> StrategySummary | None:
    finished = [row for row in rows if row.test_accuracy is not None]
    return min(
        finished, key=lambda row: (-_known(row.test_accuracy), _known(row.trainable_params)), default=None
    )


def _judged(
    rows: Sequence[StrategySummary],
    evidence: Evidence,
    places: Sequence[str],
    truth: np.ndarray,
    factor: float = 1.0,
) -> list[StrategySummary]:
    """The rows with what follows from all answers together: standing, interval, and the majority's test.

    ``places`` are the labels of the strategies in ``evidence``, in its order; ``factor`` multiplies every p-value.
    """
    best = _best(rows)
    assert best is not None, "some strategy has answers, so one is the best"
    majority = _times(evidence.not_above((truth == np.bincount(truth).argmax()).astype(float)), factor)
    standings = _standings(evidence, places, rows, best, factor)
    contenders = sum(each.verdict != Verdict.BELOW for each in standings.values())
    judged = []
    for row in rows:
        row = replace(row, standing=standings.get(row.label))
        if row.label in places:
            place = places.index(row.label)
            picked_from = contenders if row.label == best.label else 1
            row = replace(
                row,
                interval=evidence.interval(place, picked_from),
                p_not_above_majority=float(majority[place]),
            )
        judged.append(row)
    return judged


def _standings(
    evidence: Evidence,
    places: Sequence[str],
    rows: Sequence[StrategySummary],
    best: StrategySummary,
    factor: float,
) -> dict[str, Standing]:
    """Each finished strategy against the best one."""
    nothing = np.full(len(places), np.nan)
    top = places.index(best.label) if best.label in places else None
    equal = nothing if top is None else _times(evidence.below_best(top), factor)
    beyond = nothing if top is None else _times(evidence.beyond_margin(top), factor)
    standings = {}
    for row in rows:
        if row.test_accuracy is None:
            continue
        difference = row.test_accuracy - _known(best.test_accuracy)
        place = places.index(row.label) if row.label in places else None
        if row.label == best.label:
            standings[row.label] = Standing(Verdict.BEST, 0.0)
        elif top is None or place is None or np.isnan(equal[place]):
            standings[row.label] = Standing(Verdict.UNTESTED, difference)
        else:
            p_values = float(equal[place]), float(beyond[place])
            limit = evidence.shortfall_limit(place, top)
            standings[row.label] = Standing(_verdict(*p_values), difference, *p_values, limit)
    return standings


def _times(p_values: np.ndarray, factor: float) -> np.ndarray:
    return np.minimum(p_values * factor, 1.0)  # NaN stays NaN


def _verdict(p_equal: float, p_beyond_margin: float) -> Verdict:
    if p_equal < 1 - LEVEL:
        return Verdict.BELOW
    return Verdict.AS_GOOD if p_beyond_margin < 1 - LEVEL else Verdict.OPEN


def _learning(
    experiment: LoadedExperiment, runs: Sequence[RunRecord], classes: np.ndarray | None
) -> Learning | None:
    """From the classes of the training messages (N,); None where they or the accuracies on them are unknown."""
    known = {run.seed: run.train_accuracy for run in runs if run.train_accuracy is not None}
    if classes is None or not known:
        return None
    batch = experiment.description["train_config"].get("batch_size") or 1
    size = len(classes) // batch * batch  # train accuracy is that of whole batches
    share = float(np.bincount(classes).max() / len(classes))
    return Learning(share, {seed: above_share(accuracy, size, share) for seed, accuracy in known.items()})


def _classes(experiment: LoadedExperiment, split: str) -> np.ndarray | None:
    """The class index of each message of data/<split>.csv (N,); None where the file is absent."""
    import pandas as pd

    path = experiment.directory / "data" / f"{split}.csv"
    if not path.is_file():
        return None
    labels = pd.read_csv(path)["Label"]
    if pd.api.types.is_integer_dtype(labels):
        return labels.to_numpy()
    names = list(experiment.description["dataset"]["label_names"])
    return labels.astype(str).map(names.index).to_numpy()


def answers_of(runs: Sequence[RunRecord], truth: np.ndarray | None) -> np.ndarray | None:
    """For each seed which messages were right (S,N); None unless every run's predictions agree with its accuracy."""
    if truth is None or not runs:
        return None
    correct = []
    for run in runs:
        if run.test_predictions is None or len(run.test_predictions) != len(truth):
            return None
        right = (np.asarray(run.test_predictions) == truth).astype(float)
        if abs(right.mean() - _known(run.test_accuracy)) > 0.5 / len(truth):
            return None  # data/test.csv is not what this run was tested on: nothing may be concluded from it
        correct.append(right)
    return np.stack(correct)


def _alike(correct: np.ndarray) -> bool:
    """Whether all seeds of (S,N) give the same answers."""
    return bool((correct == correct[:1]).all())


def _compare_all(evidence: Evidence, labels: Sequence[str], factor: float = 1.0) -> tuple[Comparison, ...]:
    """Every pair of strategies with several seeds, for the matrix: adjusted for all pairs at once."""
    tested = [int(place) for place in np.flatnonzero(evidence.testable)]
    pairs = list(combinations(tested, 2))
    if not pairs:
        return ()
    first, second = np.array(pairs).T
    alone, together = (
        _times(evidence.pair_p_values(first, second, among), factor) for among in (2, len(tested))
    )
    return tuple(
        Comparison(
            labels[i], labels[j], float(evidence.means[i] - evidence.means[j]), float(p), float(adjusted)
        )
        for (i, j), p, adjusted in zip(pairs, alone, together, strict=True)
    )


def _known(value: float | None) -> float:
    """``value``, which the caller has made sure is known; a missing one sorts last."""
    return float("inf") if value is None else float(value)
