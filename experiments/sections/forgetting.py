"""Forgetting: how well the finetuned model still predicts plain text with the head that it was pretrained with."""

from math import exp, log

from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Spread, StrategySummary, Summary
from headtohead.experiments.wording import UNKNOWN

NEAR_CHANCE = 0.9  # a loss above this share of that of guessing says that the weights know no language


def section(summary: Summary) -> Section | None:
    """None where no record knows the language model's loss."""
    rows = [row for row in summary.finished if row.spread("language_loss_after")]
    before = next((spread for row in rows if (spread := row.spread("language_loss_before"))), None)
    if before is None:
        return None
    vocabulary = summary.experiment.description["model"].get("config", {}).get("vocab_size")
    headings = ("strategy", "loss before", "loss after", "change ↓", "perplexity after")
    return Section(
        "forgetting",
        "What the language model has forgotten",
        (_what(before.mean), *_meaning(before.mean, vocabulary)),
        tables=(Table(headings, tuple(_line(row) for row in rows)),),
    )


def _what(before: float) -> str:
    return (
        "The loss of predicting the next token of a short plain English text (nats per token) with the output head of the "
        f"pretrained model, before and after finetuning; before it was {before:.3f}. Where a strategy leaves everything but "
        "the new head as it was, nothing changes."
    )


def _meaning(before: float, vocabulary: int | None) -> list[str]:
    """Whether the model knew anything that could be forgotten."""
    if vocabulary and before > NEAR_CHANCE * log(vocabulary):
        return [
            f"These weights predict hardly better than guessing among {vocabulary:,} tokens ({log(vocabulary):.2f}): they "
            "are not pretrained, so there is nothing to forget and the changes mean nothing."
        ]
    return [
        "The text is one and short: small changes mean little, and random weights would have nothing to forget."
    ]


def _line(row: StrategySummary) -> tuple[str, ...]:
    before, after = row.spread("language_loss_before"), row.spread("language_loss_after")
    assert after is not None
    changes = Spread.of([_change(run.language_loss_before, run.language_loss_after) for run in row.runs])
    return (
        row.label,
        f"{before.mean:.3f}" if before else UNKNOWN,
        _written(after),
        _written(changes, "+.3f"),
        f"{exp(min(after.mean, 700.0)):,.1f}",
    )


def _change(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _written(spread: Spread | None, how: str = ".3f") -> str:
    if spread is None:
        return UNKNOWN
    return format(spread.mean, how) + (f" ± {spread.sd:.3f}" if spread.sd is not None else "")
