"""The section on learning rates in doubt: strategies of which the training loss did not fall."""

from headtohead.experiments.record import FALL
from headtohead.experiments.sections import Section
from headtohead.experiments.statistics import Summary
from headtohead.experiments.wording import listed, rate


def section(summary: Summary) -> Section | None:
    """None where every training loss fell."""
    sentences = []
    for row in summary.rows:
        still = [run for run in row.runs if run.loss_fell is False]
        if still:
            seeds = listed([str(run.seed) for run in still])
            which = "" if len(still) == len(row.runs) else f" with seed {seeds}"
            sentences.append(
                f"⚠ {row.label}{which}: the training loss never fell by as much as {100 * FALL:.0f} % "
                f"({_losses(still[0].first_train_loss)} at first, {_losses(still[0].train_loss)} at the end). Its "
                f"learning rate, {rate(row.learning_rate)}, is likely far too small or too large, and its result says "
                "little about the strategy; --tune 12 looks for a better one."
            )
    return Section("doubt", "Learning rates in doubt", tuple(sentences)) if sentences else None


def _losses(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"
