"""From measured parts to whole runs, and from two contenders' runs to ratios."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from headtohead.experiments.benchmark.contenders import LOSS_OF, TIME_OF
from headtohead.experiments.benchmark.rounds import Measured, Measurements
from headtohead.experiments.benchmark.work import Work

DYNAMIC = "transformers_dynamic"


@dataclass(frozen=True)
class Ratio:
    """How many times longer another contender's run is: the median over rounds, and the least and the most."""

    median: float
    low: float
    high: float


@dataclass
class Row:
    """One contender under one strategy, flat; None is unknown or does not apply.

    ``protocol_seconds`` is a whole run composed of measured parts: the frozen prefix, the steps, the evaluations.
    ``protocol_from_disk_seconds`` reads the prefix instead of computing it. ``ratio`` is the time of ``compared_with``
    over this one's, so above 1 is faster; it is taken within each round. ``ratio_dynamic`` is the same against
    transformers with dynamic padding. ``gemm_fraction`` is the step's speed over that of one large product.
    """

    strategy: str
    contender: str
    title: str
    position: str
    trouble: str | None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    ratio_from_disk: float | None = None
    ratio_dynamic: float | None = None
    compared_with: str | None = None
    protocol_seconds: float | None = None
    protocol_from_disk_seconds: float | None = None
    prefix_seconds: float | None = None
    prefix_from_disk_seconds: float | None = None
    step_milliseconds: float | None = None
    evaluation_batch_milliseconds: float | None = None
    steps: int | None = None
    evaluation_batches: float | None = None
    peak_memory_bytes: int | None = None
    operations_per_step: int | None = None
    operations_per_second: float | None = None
    gemm_fraction: float | None = None
    largest_loss_difference: float | None = None
    losses_compared_with: str | None = None
    losses_not_compared: str | None = None
    trainable_params: int | None = None
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Together:
    """Several strategies in one experiment, sharing one frozen prefix, against the baseline's separate runs."""

    strategies: list[str]
    contender: str
    compared_with: str
    prefix_seconds: float
    seconds: float
    baseline_seconds: float
    ratio: float


class Rounds:
    """Whole-run times of one contender, round by round."""

    def __init__(self, row: Measured, work: Work, batch_size: int) -> None:
        self.row, self.work = row, work
        facts = row.facts
        once = facts is not None and facts.evaluates_once
        self.evaluation_batches: float = (
            work.evaluation_rows / batch_size if once else work.evaluation_batches
        )
        # The peers' batches come for nothing here; the engine is charged for drawing its own.
        self._loop = work.loop_seconds if once else 0.0

    def parts(self) -> list[float]:
        """Steps and evaluations."""
        return [
            self.work.steps * step + self.evaluation_batches * evaluation + self._loop
            for step, evaluation in zip(self.row.steps, self.row.evaluations, strict=False)
        ]

    def cold(self) -> list[float]:
        """Everything computed."""
        return _plus(self.row.prefix, self.parts())

    def from_disk(self) -> list[float]:
        """The prefix read from disk; empty where there is none."""
        return _plus(self.row.prefix_from_disk, self.parts()) if self.row.prefix_from_disk else []


def _plus(prefix: Sequence[float], parts: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(prefix, parts, strict=False)] if prefix else list(parts)


def ratio(other: Sequence[float], own: Sequence[float]) -> Ratio | None:
    """``other`` over ``own``, round by round; None where no round has both."""
    values = [a / b for a, b in zip(other, own, strict=False)]
    return Ratio(statistics.median(values), min(values), max(values)) if values else None


def summarise(found: Measurements, batch_size: int) -> list[Row]:
    """One row per contender and strategy, in the order measured."""
    rows = []
    for measured in found.rows:
        peers = {row.contender.name: row for row in found.rows if row.strategy == measured.strategy}
        rows.append(_summarise(measured, peers, found, batch_size))
    return rows


def _summarise(measured: Measured, peers: dict[str, Measured], found: Measurements, batch_size: int) -> Row:
    contender, facts = measured.contender, measured.facts
    row = Row(measured.strategy, contender.name, contender.title, contender.position, measured.trouble)
    if facts is None:
        return row
    row.trainable_params, row.words = facts.trainable_params, facts.words
    row.peak_memory_bytes, row.operations_per_step = measured.peak_memory_bytes, measured.operations
    _compare_losses(row, measured, peers)
    if not measured.steps:
        return row
    times = Rounds(measured, found.work[contender.position], batch_size)
    _fill_times(row, measured, times)
    if row.operations_per_step and row.step_milliseconds:
        row.operations_per_second = row.operations_per_step / row.step_milliseconds * 1e3
        row.gemm_fraction = row.operations_per_second / statistics.median(found.gemm)
    _compare_times(row, times, lambda name: _rounds_of(peers.get(name), found, batch_size))
    return row


def _rounds_of(measured: Measured | None, found: Measurements, batch_size: int) -> Rounds | None:
    if measured is None or not measured.steps:
        return None
    return Rounds(measured, found.work[measured.contender.position], batch_size)


def _fill_times(row: Row, measured: Measured, times: Rounds) -> None:
    row.steps, row.evaluation_batches = times.work.steps, times.evaluation_batches
    row.step_milliseconds = 1e3 * statistics.median(measured.steps)
    row.evaluation_batch_milliseconds = 1e3 * statistics.median(measured.evaluations)
    row.protocol_seconds = statistics.median(times.cold())
    if measured.prefix:
        row.prefix_seconds = statistics.median(measured.prefix)
        row.prefix_from_disk_seconds = statistics.median(measured.prefix_from_disk)
        row.protocol_from_disk_seconds = statistics.median(times.from_disk())


def _compare_times(row: Row, times: Rounds, rounds_of: Callable[[str], Rounds | None]) -> None:
    for name in TIME_OF:
        baseline = rounds_of(name)
        if baseline is not None and (found := ratio(baseline.cold(), times.cold())):
            row.compared_with = name
            row.ratio, row.ratio_low, row.ratio_high = found.median, found.low, found.high
            from_disk = ratio(baseline.cold(), times.from_disk())
            row.ratio_from_disk = from_disk.median if from_disk else None
            break
    dynamic = rounds_of(DYNAMIC)
    if row.position == "last_real" and dynamic is not None and (found := ratio(dynamic.cold(), times.cold())):
        row.ratio_dynamic = found.median


def _compare_losses(row: Row, measured: Measured, peers: dict[str, Measured]) -> None:
    assert measured.facts is not None
    row.losses_not_compared = measured.facts.same_model
    if measured.facts.same_model:
        return
    for name in LOSS_OF[row.position]:
        other = peers.get(name)
        if other and other.losses and other is not measured and other.facts and not other.facts.same_model:
            row.losses_compared_with = name
            pairs = zip(measured.losses, other.losses, strict=False)
            row.largest_loss_difference = max(abs(a - b) for a, b in pairs)
            return


def share_prefix(found: Measurements, batch_size: int) -> list[Together]:
    """The strategies that leave something frozen in front, done by one engine: the longest prefix, paid once."""
    together = []
    for name in dict.fromkeys(row.contender.name for row in found.rows if row.prefix):
        rows = [row for row in found.rows if row.contender.name == name and row.prefix and row.steps]
        for base in TIME_OF:
            other = [row for row in found.rows if row.contender.name == base and row.steps]
            others = {row.strategy: row for row in other}
            if len(rows) > 1 and all(row.strategy in others for row in rows):
                baselines = [others[row.strategy] for row in rows]
                together.append(_together(rows, baselines, found, batch_size))
                break
    return together


def _together(
    rows: Sequence[Measured], baselines: Sequence[Measured], found: Measurements, batch_size: int
) -> Together:
    own = [Rounds(row, found.work[row.contender.position], batch_size) for row in rows]
    other = [Rounds(row, found.work[row.contender.position], batch_size) for row in baselines]
    prefix = max(statistics.median(row.prefix) for row in rows)
    seconds = prefix + sum(statistics.median(each.parts()) for each in own)
    baseline = sum(statistics.median(each.cold()) for each in other)
    names = [row.strategy for row in rows]
    return Together(
        names,
        rows[0].contender.name,
        baselines[0].contender.name,
        prefix,
        seconds,
        baseline,
        baseline / seconds,
    )
