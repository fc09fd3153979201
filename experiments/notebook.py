"""What a notebook shows of a comparison: answer and table, as plain HTML that takes the notebook's own style."""

from markupsafe import Markup, escape

from headtohead.experiments import wording
from headtohead.experiments.columns import legend, shown_in
from headtohead.experiments.statistics import StrategySummary, Summary


def summary_html(summary: Summary) -> str:
    """The first paragraph and the comparison of the report; all text escaped."""
    first, *rest = wording.answer(summary)
    columns = shown_in("report.html", summary)
    headings = ["strategy", *(f"{column.heading} {column.arrow}".strip() for column in columns)]
    head = Markup("").join(Markup("<th>{}</th>").format(heading) for heading in headings)
    lines = Markup("\n").join(_line(summary, row) for row in summary.rows)
    demo = wording.demo_banner(summary)
    notes = " ".join(legend(summary, columns))
    parts = [
        Markup("<p><strong>DEMO</strong> {}</p>").format(demo) if demo else "",
        Markup("<p><strong>{}</strong> {}</p>").format(first, " ".join(rest)),
        Markup("<table><thead><tr>{}</tr></thead><tbody>\n{}\n</tbody></table>").format(head, lines),
        Markup("<p><small>{}</small></p>").format(notes),
    ]
    return str(Markup("\n").join(parts))


def _line(summary: Summary, row: StrategySummary) -> Markup:
    columns = shown_in("report.html", summary)
    name = Markup("<th>{}</th>").format(row.label)
    if not row.runs:
        reason = row.failed[0].error if row.failed else "not run"
        return Markup('<tr>{}<td colspan="{}">{}</td></tr>').format(name, len(columns), reason)
    cells = [column.cell(summary, row, "report.html") for column in columns]
    written = Markup("").join(Markup("<td>{}</td>").format(escape(str(cell))) for cell in cells)
    return Markup("<tr>{}{}</tr>").format(name, written)
