"""Run the checks of one strategy, and say what came of them in words."""

import inspect
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headtohead.core.strategy import Baseline, Variant
from headtohead.strategies.check.baselines import BASELINE_CHECKS, BaselineBench
from headtohead.strategies.check.bench import Bench
from headtohead.strategies.check.checks import CHECKS
from headtohead.strategies.check.findings import Check, CheckFailed, Finding

_STYLES = {"passed": "green", "warning": "yellow", "skipped": "dim", "failed": "bold red"}


@dataclass(frozen=True)
class Result:
    """A check and what it found."""

    check: Check
    finding: Finding


def bench_and_checks(variant: Variant) -> tuple[Bench | BaselineBench, tuple[Check, ...]]:
    """What a variant is checked on, and by which checks."""
    if isinstance(variant.strategy, Baseline):
        return BaselineBench(variant), BASELINE_CHECKS
    return Bench(variant), CHECKS


def run_checks(variant: Variant) -> Iterator[Result]:
    """Every check of a variant, one after the other; where the first fails, the others cannot be run."""
    bench, checks = bench_and_checks(variant)
    first = Result(checks[0], run_check(checks[0], bench))
    yield first
    for check in checks[1:]:
        if first.finding.status == "failed":
            yield Result(check, Finding("skipped", "not run, because the first check failed"))
        else:
            yield Result(check, run_check(check, bench))


def run_check(check: Check, bench: Bench | BaselineBench) -> Finding:
    """One check; whatever goes wrong in the strategy is a finding with the line that raised it."""
    try:
        return check.run(bench)
    except CheckFailed as error:
        return Finding("failed", str(error))
    except Exception as error:  # noqa: BLE001 - a strategy under check may raise anything; it is reported
        return Finding("failed", f"{type(error).__name__}: {error}{_where(error, bench.variant)}")


def _where(error: Exception, variant: Variant) -> str:
    """The line of the strategy's own file that an error went through."""
    own = Path(inspect.getfile(type(variant.strategy))).resolve()
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if Path(frame.filename).resolve() == own]
    return f" ({own.name}, line {lines[-1]})" if lines else ""


def print_results(console: Console, variant: Variant, results: list[Result]) -> None:
    """The table of checks, and below it every failure with its usual cause and the fix."""
    table = Table(
        "check", "result", "", title=Text(variant.label, style="bold"), box=SIMPLE_HEAD, title_justify="left"
    )
    for result in results:
        status = result.finding.status
        table.add_row(result.check.title, Text(status, style=_STYLES[status]), Text(result.finding.text))
    console.print(table)
    for result in results:
        if result.finding.status == "failed":
            console.print(Text(f"\n{result.check.title}: {result.finding.text}", style="bold red"))
            console.print(Text(f"  what is checked  {_says(result.check)}"))
            console.print(Text(f"  usual cause      {result.check.cause}"))
            console.print(Text(f"  fix              {result.check.fix}"))
    console.print(Text("\n" + _summary(results), style="bold"))


def _says(check: Check) -> str:
    return (inspect.getdoc(check.run) or check.title).splitlines()[0]


def _summary(results: list[Result]) -> str:
    statuses = [result.finding.status for result in results]
    parts = [f"{statuses.count(status)} {status}" for status in _STYLES if status in statuses]
    return ", ".join(parts)
