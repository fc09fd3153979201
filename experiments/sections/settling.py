"""What would settle the pairs that are open, and how an experiment went that added seeds until they were settled."""

from headtohead.experiments.inference import LEVEL
from headtohead.experiments.power import POWER, Pair
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.sequential import Sequential
from headtohead.experiments.statistics import Summary, Verdict, evidence_of, sequential_of
from headtohead.experiments.wording import UNKNOWN, count, listed, percent

MOST = 8  # open pairs that are shown


def section(summary: Summary) -> Section | None:
    """None where nothing could be compared."""
    pairs = _pairs(summary)
    sequential = sequential_of(summary.experiment)
    if not pairs and sequential is None:
        return None
    sentences = [*(_sequential(sequential) if sequential else []), *(_smallest(pairs) if pairs else [])]
    open_pairs = {label: pair for label, pair in pairs.items() if label in _open(summary)}
    tables = (_needs(summary, open_pairs),) if open_pairs else ()
    return Section("settling", "What would settle it", tuple(sentences), tables=tables)


def _pairs(summary: Summary) -> dict[str, Pair]:
    """Every strategy that could be tested against the best one, by label."""
    found, best = evidence_of(summary), summary.best
    if found is None or best is None or best.label not in found[1]:
        return {}
    evidence, labels = found
    top = labels.index(best.label)
    pairs = {}
    for place, label in enumerate(labels):
        if place == top or not (evidence.testable[place] and evidence.testable[top]):
            continue
        messages, seeds = evidence.variance_parts(place, top)
        runs = int(min(evidence.seeds[place], evidence.seeds[top]))
        difference = float(evidence.means[place] - evidence.means[top])
        pairs[label] = Pair(
            difference, messages, seeds, summary.test_size, runs, int(evidence.testable.sum())
        )
    return pairs


def _open(summary: Summary) -> list[str]:
    return [row.label for row in summary.with_verdict(Verdict.OPEN)][:MOST]


def _smallest(pairs: dict[str, Pair]) -> list[str]:
    values = sorted(pair.smallest() for pair in pairs.values())
    span = percent(values[0]) if len(values) == 1 else f"{percent(values[0])} to {percent(values[-1])}"
    one = next(iter(pairs.values()))
    return [
        f"With {one.messages:,} test messages and {one.seeds} seeds, a difference to the best one of {span} points would be "
        f"found in {100 * POWER:.0f} % of experiments (by what these strategies vary, and how alike their answers are); a "
        "smaller one would mostly stay open.",
        "Before an experiment, python -m headtohead.experiments.power --messages N --seeds S says the same; "
        "--until-settled adds seeds until pairs are settled.",
    ]


def _needs(summary: Summary, pairs: dict[str, Pair]) -> Table:
    assert summary.best is not None
    rows = tuple(
        (
            f"{label} and {summary.best.label}",
            f"{abs(100 * pair.difference):.1f}",
            _or_none(pair.seeds_needed()),
            _or_none(pair.messages_needed()),
        )
        for label, pair in pairs.items()
    )
    one = next(iter(pairs.values()))
    return Table(
        ("open pair", "points apart", f"seeds (now {one.seeds})", f"test messages (now {one.messages:,})"),
        rows,
        f"How many of either would settle a pair in {100 * POWER:.0f} % of experiments, as apart or as good, if the difference "
        f"is the one seen; {UNKNOWN}: none that could be had.",
    )


def _or_none(number: int | None) -> str:
    return UNKNOWN if number is None else count(number)


def _sequential(sequential: Sequential) -> list[str]:
    """The looks, what was settled at them, and what that costs the tests."""
    looks = [str(look) for look in sequential.looks]
    sentences = [
        f"Seeds were added until pairs were settled: looks at {listed(looks)} seeds were planned beforehand, each with a level "
        f"of its own ({', '.join(f'{level:.3f}' for level in sequential.levels)}; together {1 - LEVEL:.2f}), so that looking "
        f"more than once does not make false claims more likely. {sequential.done} of {len(looks)} looks were taken.",
        f"Every p-value in this report is multiplied by {sequential.factor:.1f}: what is claimed is claimed at the last "
        "look's level. Intervals are those of a number of seeds fixed beforehand.",
    ]
    settled = [f"{first} and {second} ({how})" for first, second, how in sequential.settled]
    sentences.append(f"Settled: {listed(settled, MOST)}." if settled else "No pair was settled.")
    left = [
        f"{first} and {second}"
        for first, second in sequential.pairs
        if not sequential.is_settled(first, second)
    ]
    if left:
        sentences.append(f"Still open: {listed(left, MOST)}.")
    return sentences
