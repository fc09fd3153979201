"""What a report is asked: settings of which no run depends, kept in experiment.json. Imports nothing heavy."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from headtohead.core.errors import InputError
from headtohead.experiments.flags import (
    check_count,
    check_positive,
    check_share,
    flag,
    read_count,
    read_duration,
    read_number,
    read_share,
    read_size,
)

FORMATS = ("png", "pdf")


def read_formats(text: str, name: str) -> tuple[str, ...]:
    """``"png,pdf"`` -> ("png", "pdf")."""
    return tuple(dict.fromkeys(word.strip() for word in text.split(",")))


@dataclass(frozen=True, kw_only=True)
class ReportSettings:
    """What the report is asked; no run depends on it, so ``--report-only`` takes it, too."""

    max_false_positive_rate: float | None = flag(
        None,
        "--max-false-positive-rate",
        "how many messages of the other classes may be called a class, such as 0.01: what is found within it",
        "SHARE",
        read_share,
    )
    price_per_hour: float | None = flag(
        None, "--price-per-hour", "what an hour of this machine costs, in any currency", "AMOUNT", read_number
    )

    max_size: int | None = flag(
        None, "--max-size", "recommend only what takes no more on disk, such as 1MB", "SIZE", read_size
    )
    max_train_time: float | None = flag(
        None, "--max-train-time", "only what trains no longer, such as 90s, 10m or 1h", "TIME", read_duration
    )
    max_latency: float | None = flag(
        None,
        "--max-latency",
        "only what answers one message within that time, such as 20ms",
        "TIME",
        read_duration,
    )
    max_memory: int | None = flag(
        None, "--max-memory", "only what takes no more memory while training, such as 4GB", "SIZE", read_size
    )
    labels: int | None = flag(
        None, "--labels", "how many labelled messages you will have (with --train-sizes)", "N", read_count
    )
    plots: tuple[str, ...] = flag(
        ("png",), "--plots", "formats of the plots: png, or png,pdf", "LIST", read_formats
    )

    def __post_init__(self) -> None:
        if "png" not in self.plots or not set(self.plots) <= set(FORMATS):
            raise InputError(f"--plots {','.join(self.plots)}: use png, which the report needs, or png,pdf")
        for name in ("max_size", "max_train_time", "max_latency", "max_memory"):
            if (value := getattr(self, name)) is not None:
                check_positive(f"--{name.replace('_', '-')}", value)
        if self.labels is not None:
            check_count("--labels", self.labels)
        if self.max_false_positive_rate is not None:
            check_share("--max-false-positive-rate", self.max_false_positive_rate)
        if self.price_per_hour is not None:
            check_positive("--price-per-hour", self.price_per_hour)

    def given(self) -> dict[str, Any]:
        """The settings that were given, by field."""
        defaults = {each.name: each.default for each in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != defaults[name]}
