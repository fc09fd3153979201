"""Quality beyond accuracy: by class, ranked, as probabilities, and at a false-positive rate."""

from headtohead.experiments.charts import draw_chart
from headtohead.experiments.figures import Chart, Line
from headtohead.experiments.metrics import BINS, metrics_of
from headtohead.experiments.quality import Operating, mean_of, operating_points, reliability_curve
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Spread, StrategySummary, Summary
from headtohead.experiments.wording import UNKNOWN, percent, share


def section(summary: Summary) -> Section | None:
    """None where no record knows more than its accuracy."""
    rows = [row for row in summary.finished if row.constant("test_class_recall") or row.spread("test_brier")]
    if not rows:
        return None
    rate = summary.experiment.asked.max_false_positive_rate
    tables = [_probabilities(rows), _by_class(summary, rows)]
    points = {row.label: operating_points(summary, row, rate) for row in rows} if rate else {}
    if rate and any(points.values()):
        tables.insert(0, _operating(summary, points, rate))
    chart = _reliability(summary, rows)
    return Section(
        "quality",
        "Quality beyond accuracy",
        tuple(_sentences(summary, rate)),
        (draw_chart(summary, chart),) if chart else (),
        tuple(tables),
    )


def _sentences(summary: Summary, rate: float | None) -> list[str]:
    names = summary.experiment.description["dataset"]["label_names"]
    two = len(names) == 2
    whose = f"of {names[1]}" if two else f"each class against the others, the mean over {len(names)} classes"
    sentences = [
        f"F1 in the comparison is {metrics_of(names)}; macro F1 is the unweighted mean over all classes.",
        f"ROC AUC and average precision are {whose}: how well the probabilities rank, at whatever threshold.",
        "Brier is the mean squared distance of the probabilities to the truth (0 is perfect, always saying "
        f"{percent(1 / len(names))} % of each class gives {(1 - 1 / len(names)) / 2:.3f}). The calibration error is how far "
        f"the probability of the named class lies from how often it is right ({BINS} bins of equal width).",
    ]
    if rate:
        sentences.append(_about_rate(summary, rate))
    return sentences


def _about_rate(summary: Summary, rate: float) -> str:
    """How the threshold was chosen, and how finely the validation messages can tell."""
    classes = summary.classes("validation")
    names = summary.experiment.description["dataset"]["label_names"]
    asked = f"At most {share(100 * rate)} % of the messages"
    if classes is None:
        return f"{asked} of other classes: data/validation.csv is absent, so no threshold can be chosen."
    if len(names) > 2:
        return (
            f"{asked} of the other classes may be called a class: each threshold is chosen on the validation messages, "
            "and what it does on the test messages is shown, the mean over the classes."
        )
    others = int((classes != 1).sum())
    return (
        f"{asked} that are {names[0]} may be called {names[1]}: the threshold is chosen on the validation messages, where "
        f"{others} are {names[0]}, so {int(rate * others + 1e-9)} of them may be; on the test messages the rate can differ."
    )


def _operating(summary: Summary, points: dict[str, list[Operating]], rate: float) -> Table:
    names = summary.experiment.description["dataset"]["label_names"]
    whose = f"{names[1]} found" if len(names) == 2 else "recall, mean over the classes"
    columns = ("recall", "false_positive_rate", "accuracy")
    return Table(
        ("strategy", f"{whose} %", "false-positive rate on test %", "accuracy %"),
        tuple(
            (label, *(_percent(mean_of(found, name)) for name in columns)) for label, found in points.items()
        ),
        f"At a false-positive rate of {share(100 * rate)} % on the validation messages.",
    )


def _reliability(summary: Summary, rows: list[StrategySummary]) -> Chart | None:
    """What was said against how often it was right; None where no run kept its probabilities."""
    curves = {row.label: curve for row in rows if (curve := reliability_curve(summary, row)) is not None}
    lines = tuple(
        Line(
            label,
            (100 * curve.said).tolist(),
            (100 * curve.right).tolist(),
            bars=(100 * curve.counts / curve.counts.sum()).tolist(),
        )
        for label, curve in curves.items()
    )
    caption = (
        "How often the named class was right against its probability, over the test messages of all seeds; bars: the share "
        "of the messages. Below the diagonal: more sure than right."
    )
    x, y = "probability of the named class (%)", "right (%)"
    return (
        Chart(
            "reliability",
            "Reliability",
            caption,
            x,
            y,
            lines,
            apart=True,
            bars="of the messages (%)",
            diagonal=True,
        )
        if lines
        else None
    )


def _probabilities(rows: list[StrategySummary]) -> Table:
    names = (
        "test_macro_f1",
        "test_roc_auc",
        "test_average_precision",
        "test_brier",
        "test_calibration_error",
    )
    return Table(
        ("strategy", "macro F1 % ↑", "ROC AUC ↑", "average precision ↑", "Brier ↓", "calibration error % ↓"),
        tuple(
            (
                row.label,
                *(
                    (_percent if name in (names[0], names[-1]) else _decimal)(row.spread(name))
                    for name in names
                ),
            )
            for row in rows
        ),
        "Means ± standard deviations over the seeds, on the test messages.",
    )


def _by_class(summary: Summary, rows: list[StrategySummary]) -> Table:
    names = summary.experiment.description["dataset"]["label_names"]
    lines = [
        (
            row.label,
            name,
            *(_percent(_of_class(row, field, place)) for field in ("precision", "recall", "f1")),
        )
        for row in rows
        for place, name in enumerate(names)
    ]
    return Table(
        ("strategy", "class", "precision %", "recall %", "F1 %"),
        tuple(lines),
        f"By class. A precision is {UNKNOWN} where no run named the class.",
        words=2,
    )


def _of_class(row: StrategySummary, field: str, place: int) -> Spread | None:
    lists = [getattr(run, f"test_class_{field}") for run in row.runs]
    return Spread.of([values[place] for values in lists if values])


def _percent(spread: Spread | None) -> str:
    if spread is None:
        return UNKNOWN
    return percent(spread.mean) + (f" ± {percent(spread.sd)}" if spread.sd is not None else "")


def _decimal(spread: Spread | None) -> str:
    if spread is None:
        return UNKNOWN
    return f"{spread.mean:.3f}" + (f" ± {spread.sd:.3f}" if spread.sd is not None else "")
