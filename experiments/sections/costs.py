"""What each strategy costs: work, time, energy and money of training, time of an answer, memory, size."""

from collections.abc import Callable
from typing import Any

from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Spread, StrategySummary, Summary
from headtohead.experiments.wording import UNKNOWN, listed, short_bytes, short_count, short_seconds

BATCH = 64  # messages of the second latency, as the records have it
Cells = Callable[[StrategySummary], str]


def section(summary: Summary) -> Section | None:
    """None where no record knows more than its times."""
    rows = [row for row in summary.finished if row.spread("latency_ms") or row.constant("flops_per_step")]
    if not rows:
        return None
    price = summary.experiment.asked.price_per_hour
    finished = [row for row in summary.finished if row.runs]
    tables = (_training(finished, price), _answering(rows))
    return Section("costs", "What it costs", tuple(_sentences(summary, finished, price)), tables=tables)


def _sentences(summary: Summary, rows: list[StrategySummary], price: float | None) -> list[str]:
    sentences = [
        "FLOPs are those of the plain way, as torch counts them for the first step (products only, attention without the "
        "half that the causal mask spares), times the steps; where the engine spares work, it took less.",
        f"Latency is from the text to its class, of one message and of {BATCH} together, padded as in training, in the median "
        "over repeats; strategies whose models are put together alike share one measurement. Merged: what was inserted is "
        "folded into the weights first.",
        _processes(rows),
    ]
    if any(row.spread("train_joules") for row in rows):
        sentences.append(
            "Energy is that of training by the machine's counters, which whatever else ran on it has moved, too."
        )
    else:
        sentences.append("Energy is not shown: this machine has no counter that may be read.")
    if price:
        sentences.append(
            f"Price: {price:g} an hour for all of a run: setup, frozen prefix, training and evaluation."
        )
    return sentences


def _processes(rows: list[StrategySummary]) -> str:
    """Whether each run had a process of its own, and what that means for times and memory."""
    shared = [row.label for row in rows if not all(run.isolated for run in row.runs)]
    if not shared:
        return (
            "Every run had a process of its own (--isolate): its times and memory do not depend on what ran before it, and "
            "each computed its frozen prefix itself."
        )
    whose = "Runs" if len(shared) == len(rows) else f"Runs of {listed(shared, 6)}"
    return (
        f"{whose} shared one process, one after another: peak memory can hold what earlier ones left there (memory above the "
        "model cannot); --isolate gives each run a process of its own."
    )


def _training(rows: list[StrategySummary], price: float | None) -> Table:
    columns: dict[str, Cells] = {
        "FLOPs of training": _flops,
        "messages per second ↑": lambda row: _of(row, "examples_per_second", short_count),
        "setup": lambda row: _of(row, "setup_seconds", short_seconds),
        "frozen prefix": lambda row: _of(row, "prefix_seconds", short_seconds),
        "training": lambda row: _of(row, "train_seconds", short_seconds),
        "evaluation": lambda row: _of(row, "eval_seconds", short_seconds),
        "peak memory": lambda row: _of(row, "peak_memory_bytes", short_bytes),
        "size on disk": lambda row: short_bytes(row.constant("classifier_bytes")),
    }
    if any(row.spread("train_joules") for row in rows):
        columns["energy"] = lambda row: _of(row, "train_joules", lambda value: f"{short_count(value)} J")
    if price:
        columns["price of a run"] = lambda row: _price(row, price)
    together = " ‡ Several seeds were timed together." if any(row.timed_in_groups for row in rows) else ""
    caption = f"Training, means ± standard deviations over the runs that were timed alone, where some were.{together}"
    return _table(rows, columns, caption)


def _answering(rows: list[StrategySummary]) -> Table:
    names = {
        "one message ↓": "latency_ms",
        f"{BATCH} messages ↓": "latency_batch_ms",
        "one, merged ↓": "merged_latency_ms",
        f"{BATCH}, merged ↓": "merged_latency_batch_ms",
    }
    columns = {heading: _milliseconds(name) for heading, name in names.items()}
    return _table(rows, columns, "Answering.")


def _table(rows: list[StrategySummary], columns: dict[str, Cells], caption: str) -> Table:
    lines = tuple((row.label, *(cell(row) for cell in columns.values())) for row in rows)
    return Table(("strategy", *columns), lines, caption)


def _milliseconds(name: str) -> Cells:
    return lambda row: _of(row, name, lambda value: f"{value:.3g} ms", timed=False)


def _of(row: StrategySummary, name: str, written: Callable[[Any], str], *, timed: bool = True) -> str:
    spread = row.timing(name) if timed else row.spread(name)
    if spread is None:
        return UNKNOWN
    varied = f" ± {written(spread.sd)}" if spread.sd else ""
    return f"{written(spread.mean)}{varied}" + (" ‡" if timed and row.timed_in_groups else "")


def _flops(row: StrategySummary) -> str:
    works = [
        run.flops_per_step * run.steps if run.flops_per_step is not None and run.steps else None
        for run in row.runs
    ]
    spread = Spread.of(works)
    return f"{spread.mean:.3g}" if spread else UNKNOWN


def _price(row: StrategySummary, per_hour: float) -> str:
    spread = row.timing("total_seconds")
    return f"{per_hour * spread.mean / 3600:.3g}" if spread else UNKNOWN
