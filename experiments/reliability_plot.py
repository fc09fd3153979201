"""The reliability curves of the report: a panel per strategy, what was said against how often it was right."""

import io
from collections.abc import Sequence
from math import ceil

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from headtohead.experiments.plots import BLUE, DPI, FAINT, SOFT, STYLE, WIDTH, Plot, drawable
from headtohead.experiments.quality import Curve, reliability_curve
from headtohead.experiments.statistics import StrategySummary, Summary
from headtohead.experiments.tables import continued

COLUMNS = 3
LINE = 20  # letters of a name in a line


def draw_reliability(summary: Summary, rows: Sequence[StrategySummary]) -> Plot | None:
    """reliability.png; None where no run kept its probabilities."""
    curves = {row.label: curve for row in rows if (curve := reliability_curve(summary, row)) is not None}
    if not curves:
        return None
    with matplotlib.rc_context(STYLE):
        figure = _figure(curves, demo=bool(summary.experiment.demo_parts))
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    caption = (
        "How often the named class was right against its probability, over the test messages of all seeds; bars: the share "
        "of the messages. Below the diagonal: more sure than right."
    )
    return Plot("reliability.png", "Reliability", caption, picture.getvalue())


def _figure(curves: dict[str, Curve], *, demo: bool) -> Figure:
    columns = min(COLUMNS, len(curves))
    lines = ceil(len(curves) / columns)
    figure = Figure(figsize=(WIDTH, 1.2 + 1.9 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    title = "Reliability" + ("  ·  DEMO" if demo else "")
    figure.suptitle(title, fontsize=11.5, fontweight="bold", x=0.02, ha="left")
    for panel, (label, curve) in zip(panels.flat, curves.items(), strict=False):
        _panel(panel, label, curve)
    for panel in panels.flat[len(curves) :]:
        panel.set_visible(False)
    figure.supxlabel("probability of the named class (%)", fontsize=10.5)
    figure.supylabel("right (%)", fontsize=10.5)
    return figure


def _panel(panel: Axes, label: str, curve: Curve) -> None:
    panel.set_title(continued(drawable(label), LINE), fontsize=9, fontweight="normal", pad=4)
    panel.bar(100 * curve.said, 100 * curve.counts / curve.counts.sum(), width=6, color=FAINT)
    panel.plot([0, 100], [0, 100], color=SOFT, linewidth=1, linestyle=(0, (4, 2)))
    panel.plot(100 * curve.said, 100 * curve.right, "o-", color=BLUE, markersize=4, linewidth=1.5)
    panel.set_xlim(min(45.0, 100 * float(curve.said.min()) - 5), 102)
    panel.set_ylim(-2, 102)
