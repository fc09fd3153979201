"""What the page has beside the text: policy, style, scripts, and the figures' data."""

from typing import Any

from markupsafe import Markup

from headtohead.experiments import page
from headtohead.experiments.figures import Figures, for_page
from headtohead.experiments.statistics import Summary

# The picture's name -> the figure that the script draws in its place.
DRAWN = {
    "accuracy_vs_parameters": "scatter",
    "test_accuracy": "intervals",
    "loss": "loss",
    "accuracy": "accuracy",
    "train_time": "time",
    "peak_memory": "memory",
}


def page_contents(summary: Summary, figures: Figures, contents: dict[str, Any]) -> dict[str, Any]:
    """What report.html needs beyond ``contents``, which both reports have."""
    style, script = page.style(), page.script()
    charts = [plot.chart for section in contents["sections"] for plot in section.plots if plot.chart]
    return {
        "style": Markup(style),
        "script": Markup(script),
        "policy": page.policy(style, script),
        "data": Markup(page.embedded(for_page(figures, summary.families, charts))),
        "drawn": DRAWN | {chart.name: chart.name for chart in charts},
        "contents": _headings(contents),
    }


def _headings(contents: dict[str, Any]) -> list[tuple[str, str]]:
    """(anchor, title) of what the page has, in its order."""
    return [
        ("compared", "What was compared"),
        ("comparison", "Comparison"),
        ("sure", "How sure one can be"),
        *((section.key, section.title) for section in contents["sections"]),
        *([("cost", "Training and cost")] if contents["plots"] else []),
        *([("confusions", "Confusion matrices")] if contents["confusions"] else []),
        ("strategies", "Strategies in detail"),
        ("again", "To do it again"),
    ]
