"""How sure one can be: intervals for accuracies, paired tests between strategies, and the summary of an experiment."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from headtohead.experiments.folder import LoadedExperiment
from headtohead.experiments.record import RunRecord

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.95  # of every interval; 1 - LEVEL is the significance level of every test
Z = 1.959963984540054  # the normal quantile at 1 - (1 - LEVEL) / 2
Interval = tuple[float, float]


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
        return cls(
            float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known)
        )


@dataclass(frozen=True)
class Comparison:
    """Two strategies on the same test messages: ``difference`` is accuracy(first) - accuracy(second)."""

    first: str
    second: str
    difference: float
    p_value: float
    adjusted_p: float  # Holm, over all pairs of the experiment


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
    interval: Interval | None  # of the test accuracy

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
        ranked = sorted(
            self.finished, key=lambda row: (-_known(row.test_accuracy), _known(row.trainable_params))
        )
        return ranked[0] if ranked else None

    @cached_property
    def leaders(self) -> tuple[str, ...]:
        """Labels not distinguishable from the best (itself included): Holm-adjusted p >= 1 - LEVEL, or untestable."""
        if self.best is None:
            return ()
        beaten = {
            comparison.second if comparison.first == self.best.label else comparison.first
            for comparison in self.comparisons
            if self.best.label in (comparison.first, comparison.second) and comparison.adjusted_p < 1 - LEVEL
        }
        return tuple(row.label for row in self.finished if row.label not in beaten)

    @property
    def clear_winner(self) -> bool:
        """Whether one strategy may be called best: it differs from every other one beyond chance."""
        return len(self.finished) > 1 and len(self.leaders) == 1

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


def wilson_interval(accuracy: float, size: float) -> Interval:
    """Wilson's score interval (LEVEL) for a proportion ``accuracy`` observed on ``size`` messages.

    ``size`` may be fractional (an effective sample size). For whole counts it equals
    ``scipy.stats.binomtest(k, n).proportion_ci(method="wilson")``.
    Source: Wilson 1927, Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    centre = (accuracy + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * np.sqrt(accuracy * (1 - accuracy) / size + Z**2 / (4 * size**2))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def accuracy_interval(accuracies: Sequence[float], size: int, correct: np.ndarray | None) -> Interval:
    """The LEVEL interval of a strategy's mean test accuracy over S seeds on the same N = ``size`` messages.

    ``correct`` is (S,N), 1 where the run was right; None where the predictions are unknown.
    One seed: Wilson. Several: the seeds share one test set, so S x N answers are not S x N independent ones.
    Seeds and messages are treated as crossed random effects (:func:`crossed_variance`), the variance is turned
    into an effective sample size accuracy * (1 - accuracy) / variance, reduced by (z / t)^2 for the few degrees
    of freedom and never above N, and Wilson's interval is taken at that size, which keeps it inside 0..1 and
    wider than a point at 100 %. More seeds thus never make the test set look larger than it is.
    Without predictions the messages' part of the variance is the binomial one, an upper bound.
    Source: effective sample size after Korn and Graubard 1998 (Survey Methodology 24), with Wilson's interval as
    compared by Franco, Little, Louis and Slud 2019 (J. Survey Statistics and Methodology 7); crossed variance as
    in reader studies, Gallas, Bandos, Samuelson and Wagner 2009 (Communications in Statistics 38).
    """
    mean = float(np.mean(accuracies))
    if len(accuracies) == 1:
        return wilson_interval(mean, size)
    if correct is None:
        seeds = float(np.var(accuracies, ddof=1)) / len(accuracies)
        variance, freedom = _with_freedom(seeds, len(accuracies) - 1, mean * (1 - mean) / size, size - 1)
    else:
        variance, freedom = crossed_variance(correct)
    if variance == 0:
        return wilson_interval(mean, size)
    effective = mean * (1 - mean) / variance * (Z / _t_quantile(freedom)) ** 2
    return wilson_interval(mean, min(size, effective))


def crossed_variance(values: np.ndarray) -> tuple[float, float]:
    """Variance of the overall mean of ``values`` (S,N), rows and columns both random, and its degrees of freedom.

    var(seed means) / S + var(message means) / N. The interaction is counted in both terms: a little too wide
    rather than too narrow. Degrees of freedom after Satterthwaite 1946.
    """
    S, N = values.shape
    seeds = float(np.var(values.mean(axis=1), ddof=1)) / S
    messages = float(np.var(values.mean(axis=0), ddof=1)) / N
    return _with_freedom(seeds, S - 1, messages, N - 1)


def paired_p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p-value that two strategies are equally accurate; both (S,N) of 0 / 1, same seeds, same messages.

    An exact sign test over the messages on which they differ: with one seed this is McNemar's exact test. With
    several seeds also a t test of the mean difference whose variance counts seeds and messages
    (:func:`crossed_variance`); the larger p-value of the two is returned, so that neither a few lucky messages
    nor a few lucky seeds make a difference.
    """
    from scipy import stats

    difference = first.astype(float) - second
    per_message = difference.mean(axis=0)
    wins, losses = int((per_message > 0).sum()), int((per_message < 0).sum())
    sign = (
        min(1.0, 2 * float(stats.binom.cdf(min(wins, losses), wins + losses, 0.5))) if wins + losses else 1.0
    )
    if len(difference) == 1:
        return sign
    variance, freedom = crossed_variance(difference)
    if variance == 0:
        return sign
    t = float(per_message.mean()) / np.sqrt(variance)
    return max(sign, 2 * float(stats.t.sf(abs(t), freedom)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979, Scandinavian Journal of Statistics 6)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


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


def summarise(experiment: LoadedExperiment) -> Summary:
    """Everything the report says in numbers, from an experiment's records and its data/test.csv."""
    truth = _test_classes(experiment)
    matrices = {}
    rows = []
    for wanted in experiment.description["strategies"]:
        runs = [record for record in experiment.records if record.label == wanted["label"]]
        finished = tuple(run for run in runs if run.ok and run.test_accuracy is not None)
        correct = _correct_by_seed(finished, truth)
        if correct is not None:
            matrices[wanted["label"]] = correct
        rows.append(_summarise_strategy(experiment, wanted, runs, finished, correct))
    comparisons = _compare_all(matrices)
    unpaired = tuple(row.label for row in rows if row.runs and row.label not in matrices)
    return Summary(
        experiment, tuple(rows), comparisons, unpaired, tuple(truth) if truth is not None else None
    )


def _summarise_strategy(
    experiment: LoadedExperiment,
    wanted: dict[str, Any],
    runs: Sequence[RunRecord],
    finished: tuple[RunRecord, ...],
    correct: dict[int, np.ndarray] | None,
) -> StrategySummary:
    accuracies = [run.test_accuracy for run in finished if run.test_accuracy is not None]
    size = int(experiment.description["dataset"]["rows"]["test"])
    matrix = np.stack(list(correct.values())) if correct else None
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
        interval=accuracy_interval(accuracies, size, matrix) if accuracies else None,
    )


def _test_classes(experiment: LoadedExperiment) -> np.ndarray | None:
    """The class index of each message of data/test.csv (N,); None where the file is absent."""
    import pandas as pd

    path = experiment.directory / "data" / "test.csv"
    if not path.is_file():
        return None
    labels = pd.read_csv(path)["Label"]
    if pd.api.types.is_integer_dtype(labels):
        return labels.to_numpy()
    names = list(experiment.description["dataset"]["label_names"])
    return labels.astype(str).map(names.index).to_numpy()


def _correct_by_seed(runs: Sequence[RunRecord], truth: np.ndarray | None) -> dict[int, np.ndarray] | None:
    """For each seed which messages were right (N,); None unless every run's predictions agree with its accuracy."""
    if truth is None or not runs:
        return None
    correct = {}
    for run in runs:
        if run.test_predictions is None or len(run.test_predictions) != len(truth):
            return None
        correct[run.seed] = (np.asarray(run.test_predictions) == truth).astype(float)
        if abs(correct[run.seed].mean() - _known(run.test_accuracy)) > 0.5 / len(truth):
            return None  # data/test.csv is not what this run was tested on: nothing may be concluded from it
    return correct


def _compare_all(correct: dict[str, dict[int, np.ndarray]]) -> tuple[Comparison, ...]:
    """Every pair, on the seeds that both finished. All pairs, because which one is best is only seen afterwards."""
    found = []
    for first, second in combinations(correct, 2):
        seeds = sorted(set(correct[first]) & set(correct[second]))
        if not seeds:
            continue
        one, other = (np.stack([correct[label][seed] for seed in seeds]) for label in (first, second))
        found.append((first, second, float(one.mean() - other.mean()), paired_p_value(one, other)))
    adjusted = holm([p_value for *_, p_value in found])
    return tuple(Comparison(*each, p_adjusted) for each, p_adjusted in zip(found, adjusted, strict=True))


def _with_freedom(
    first: float, first_freedom: float, second: float, second_freedom: float
) -> tuple[float, float]:
    total = first + second
    if total == 0:
        return 0.0, first_freedom + second_freedom
    return total, total**2 / (first**2 / first_freedom + second**2 / second_freedom)


def _t_quantile(freedom: float) -> float:
    from scipy import stats

    return float(stats.t.ppf(1 - (1 - LEVEL) / 2, freedom))


def _known(value: float | None) -> float:
    """``value``, which the caller has made sure is known; a missing one sorts last."""
    return float("inf") if value is None else float(value)
