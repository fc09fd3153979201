"""The page about all strategies, written from what their files say about themselves.

python -m strategies.docs            write strategies/README.md again
python -m strategies.docs --check    say whether it is up to date (exit code 1 where not)
"""

from collections.abc import Iterable

from headtohead.strategies import DEFAULT, FOLDER
from headtohead.strategies._catalogue import Entry, by_family

PAGE = FOLDER / "README.md"
MEANING = {
    "selective": "Weights of the model itself are trained; nothing is inserted.",
    "low-rank": "Every adapted weight gets an update that a few numbers describe.",
    "scaling": "Activations or weights are rescaled.",
    "orthogonal": "Every adapted weight is rotated or reflected, which keeps angles between its rows.",
    "adapters": "Small networks are inserted into the model, or run beside it.",
    "prompts": "Learned vectors stand before the text, or before its keys and values.",
    "baselines": "Rows that do not train the GPT: what finetuning has to beat.",
}
DETAILS = ("Parameters", "Learning rate", "Reference", "Seeds", "When")

HEADER = """\
<!-- Written by `python -m strategies.docs` from the strategies' docstrings; change those and run it again. -->
# Strategies

{count} strategies, one file each. `python run_all.py --strategies {default}`
compares some of them; a label such as `lora@r=4+alpha=8` sets fields. Trainable parameters are those of GPT-2 124M
with two classes and the fields' defaults. In closed forms D is the model's width, L its number of blocks, V its
vocabulary, P its positions, H its heads, and C the number of classes; other letters and words are fields of the
strategy. Every strategy passes `headtohead check NAME`; [CONTRIBUTING.md](../CONTRIBUTING.md) shows how to
add one.
"""


def page(entries: Iterable[Entry]) -> str:
    """The whole page, as Markdown."""
    found = list(entries)
    parts = [HEADER.format(count=len(found), default=",".join(DEFAULT))]
    parts += [_family(name, members) for name, members in by_family(found).items()]
    parts += [f"## {entry.name}\n\n{entry.path.name} {entry.error}\n" for entry in found if entry.error]
    return "\n".join(parts)


def _family(name: str, members: list[Entry]) -> str:
    rows = [
        f"| [{entry.name}](#{entry.name}) | {_cell(entry.trains)} | {_cell(entry.at_124m)} | {entry.learning_rate} |"
        for entry in members
    ]
    head = ["| strategy | what is trained | at 124M | learning rate |", "| --- | --- | ---: | ---: |"]
    title = [f"## {name[:1].upper()}{name[1:]}", "", *([MEANING[name], ""] if name in MEANING else [])]
    return "\n".join([*title, *head, *rows, "", *(_details(entry) for entry in members)])


def _details(entry: Entry) -> str:
    lines = [f"### {entry.name}", "", entry.trains, ""]
    for key in DETAILS:
        if key in entry.notes:
            lines.append(
                f"- {key}: {_formula(entry.notes[key]) if key == 'Parameters' else entry.notes[key]}"
            )
    fields = [f"`{name}={value}`" for name, value in entry.fields.items()]
    if fields:
        lines.append(f"- Fields: {', '.join(fields)}")
    return "\n".join([*lines, ""])


def _formula(text: str) -> str:
    """A closed form without its stars and underscores taken for emphasis."""
    return text.replace("*", r"\*").replace("_", r"\_")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
