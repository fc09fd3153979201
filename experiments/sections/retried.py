"""Runs that were begun more than once, because a worker or a node of the cluster died under them."""

from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Summary
from headtohead.experiments.wording import plural


def section(summary: Summary) -> Section | None:
    """The runs that began again; None where there were none."""
    records = [
        record for each in (summary, *summary.others) for record in each.experiment.records if record.retries
    ]
    if not records:
        return None
    rows = []
    for record in records:
        node = record.environment.get("node", "none") if record.ok else "none"
        rows.append((f"{record.label}, seed {record.seed}", str(node), str(record.retries)))
    said = (
        f"{len(records)} {plural('run', len(records))} began again, because the worker or the node that was doing "
        "them died. A run that begins again draws what it drew before, so its numbers are those of an undisturbed one."
    )
    table = Table(("run", "finished on", "begun in vain"), tuple(rows), words=2)
    return Section("retried", "Runs that began again", (said,), tables=(table,))
