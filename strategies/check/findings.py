"""What a check is and what it finds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["passed", "warning", "skipped", "failed"]


class CheckFailed(Exception):
    """What a check saw, in one sentence."""


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    status: Status
    text: str = ""


@dataclass(frozen=True)
class Check:
    """A check, and what to tell somebody whose strategy fails it."""

    title: str
    run: Callable[[Any], Finding]  # of a Bench, or of a BaselineBench
    cause: str
    fix: str


def named(names: list[str]) -> str:
    """At most three of some names."""
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + rest
