"""The test messages on which the strategies disagree, and those that all get wrong."""

from collections.abc import Sequence

from headtohead.experiments.quality import MessageAnswers, answers_by_message
from headtohead.experiments.sections import Section, Table
from headtohead.experiments.statistics import Summary
from headtohead.experiments.tables import visible
from headtohead.experiments.wording import listed, plural

SHOWN = 12  # messages in a table of report.md
MOST = 300  # in the page, where they can be searched; all of them are in the data
LONGEST = 240  # characters of a text
NAMES = 6  # labels named in a cell


def section(summary: Summary) -> Section | None:
    """None where fewer than two strategies have answers."""
    messages = answers_by_message(summary)
    if not messages or len(messages[0].shares) < 2:
        return None
    wrong = [each for each in messages if max(each.shares) == 0]
    apart = sorted((each for each in messages if each.split), key=lambda each: (-each.split, -each.clear))
    some = sum(min(each.shares) == 1 for each in messages)
    sentences = (
        f"Of {len(messages)} test messages every run of every strategy that trains a GPT gets {some} right and {len(wrong)} "
        f"wrong; on {len(apart)} most runs of some strategies are right and most of "
        "others wrong.",
        "Where all are wrong, look at the label first: it may be the message that is hard, or its label.",
    )
    tables = [_apart(apart)] if apart else []
    return Section(
        "messages",
        "Messages that tell strategies apart",
        sentences,
        tables=(*tables, *([_wrong(wrong)] if wrong else [])),
    )


def _apart(messages: Sequence[MessageAnswers]) -> Table:
    rows = tuple(
        (
            f"test message {each.index + 1}",
            each.true_class,
            _text(each),
            listed(each.right, NAMES),
            listed(each.wrong, NAMES),
        )
        for each in messages[:MOST]
    )
    headings = ("message", "true class", "text", "most runs right", "most runs wrong")
    return Table(
        headings, rows, f"Strategies disagree, most evenly first{_left(messages)}.", words=5, few=SHOWN
    )


def _wrong(messages: Sequence[MessageAnswers]) -> Table:
    rows = tuple((f"test message {each.index + 1}", each.true_class, _text(each)) for each in messages[:MOST])
    return Table(("message", "true class", "text"), rows, f"All wrong{_left(messages)}.", words=3, few=SHOWN)


def _left(messages: Sequence[MessageAnswers]) -> str:
    more = len(messages) - MOST
    return f"; {more} more {plural('message', more)} not shown" if more > 0 else ""


def _text(message: MessageAnswers) -> str:
    text = visible(" ".join(message.text.split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
