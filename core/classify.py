"""Finetuned classifiers asked: one, or every strategy of an experiment side by side.

headtohead classify results/NAME/runs/RUN "You won a prize, call now" "see you at eight"
headtohead classify results/NAME --input mails.csv --output csv > answers.csv
tail -f messages.txt | headtohead classify results/NAME/runs/RUN --output jsonl --latency
"""

import argparse
import csv
import io
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headtohead.core.classifier import DESCRIPTION, Classifier, load_classifier
from headtohead.core.errors import InputError, command, printable
from headtohead.core.files import file_errors
from headtohead.core.texts import arriving, texts_of

BATCH = 32
OUTPUTS = ("text", "csv", "jsonl")


@dataclass(frozen=True)
class Answer:
    """What one classifier says of one message.

    Attributes:
        label: the most probable class.
        probability: of it.
        probabilities: of every class, by name.
        milliseconds: from the text to its class, the message alone; None where that was not measured.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    milliseconds: float | None = None


def find_classifiers(
    folder: Path, *, weights_dir: Path | None = None, plugin: Path | None = None, device: str = "cpu"
) -> dict[str, Classifier]:
    """The classifier of a run, or those of all runs of an experiment, by what tells them apart: label, then seed.

    Raises:
        InputError: there is none, or one cannot be loaded.
    """
    fix = "give the folder of a run or of an experiment, such as results/NAME"
    with file_errors(f"reading the classifiers in {folder}", fix):
        runs = _runs_in(folder) or [folder]
    found = [load_classifier(run, weights_dir=weights_dir, plugin=plugin, device=device) for run in runs]
    labels = [each.info.label for each in found]
    seeded = [f"{each.info.label}, seed {each.info.seed}" for each in found]
    names = [
        label if labels.count(label) == 1 else more if seeded.count(more) == 1 else run.name
        for label, more, run in zip(labels, seeded, runs, strict=True)
    ]
    return dict(zip(names, found, strict=True))


def _runs_in(folder: Path) -> list[Path]:
    """The runs of an experiment that left a classifier; none where the folder is that of a run."""
    is_run = any((folder / place / DESCRIPTION).is_file() for place in ("", "classifier"))
    if is_run or not (folder / "runs").is_dir():
        return []
    return sorted(path.parent.parent for path in folder.glob(f"runs/*/classifier/{DESCRIPTION}"))


def answer(classifier: Classifier, texts: Sequence[str], *, latency: bool = False) -> list[Answer]:
    """What a classifier says of some texts; with ``latency`` each is classified, and timed, alone."""
    if not latency:
        return _answers(classifier, texts, [None] * len(texts))
    found = []
    for text in texts:
        started = time.perf_counter()
        rows = classifier.logits([text]).softmax(-1).tolist()
        spent = 1000 * (time.perf_counter() - started)
        found.append(_answer(classifier, rows[0], spent))
    return found


def _answers(classifier: Classifier, texts: Sequence[str], times: Sequence[float | None]) -> list[Answer]:
    if not texts:
        return []
    rows = classifier.logits(texts).softmax(-1).tolist()
    return [_answer(classifier, row, spent) for row, spent in zip(rows, times, strict=True)]


def _answer(classifier: Classifier, row: Sequence[float], milliseconds: float | None) -> Answer:
    by_name = dict(zip(classifier.info.label_names, row, strict=True))
    label = max(by_name, key=by_name.__getitem__)
    return Answer(label, by_name[label], by_name, milliseconds)


# --- what is printed ---------------------------------------------------------------------------------------

Answers = Mapping[str, Answer]  # by the classifier's name
Writer = Callable[[str, Answers], str]


def as_text(text: str, answers: Answers) -> str:
    """A line: label and probability of every classifier, then the message."""
    cells = [f"{printable(each.label)}\t{each.probability:.4f}" for each in answers.values()]
    return "\t".join([*cells, printable(text)])


def as_json(text: str, answers: Answers) -> str:
    """A JSON object: of one classifier its answer, of several all answers by name."""
    said = {name: _plain(each) for name, each in answers.items()}
    only = next(iter(said.values())) if len(said) == 1 else {"answers": said}
    return json.dumps({"text": text, **only}, ensure_ascii=True)


def _plain(each: Answer) -> dict[str, object]:
    values: dict[str, object] = {
        "label": each.label,
        "probability": each.probability,
        "probabilities": each.probabilities,
    }
    return values if each.milliseconds is None else values | {"latency_ms": each.milliseconds}


def as_csv(text: str, answers: Answers) -> str:
    """A row of :func:`csv_header`."""
    cells: list[object] = [text]
    for each in answers.values():
        cells += [each.label, f"{each.probability:.6f}"]
        cells += [] if each.milliseconds is None else [f"{each.milliseconds:.3f}"]
    return _csv_line(cells)


def csv_header(names: Sequence[str], *, latency: bool) -> str:
    """The names of the columns; those of one classifier among several begin with its name."""
    columns = ["label", "probability", *(["latency_ms"] if latency else [])]
    prefixes = [f"{name} " for name in names] if len(names) > 1 else [""]
    return _csv_line(["text", *(f"{prefix}{column}" for prefix in prefixes for column in columns)])


def _csv_line(cells: Sequence[object]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    # A lone surrogate, as an argument that is no UTF-8 becomes one, cannot be written.
    return line.getvalue().encode("utf-8", "backslashreplace").decode()


WRITERS: dict[str, Writer] = {"text": as_text, "csv": as_csv, "jsonl": as_json}


# --- the command -------------------------------------------------------------------------------------------


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: one line per message, written as soon as it is known."""
    options = build_parser().parse_args(arguments)
    try:
        return _run(options)
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace) -> int:
    if options.output not in OUTPUTS:
        raise InputError(f"--output {options.output}: choose one of {', '.join(OUTPUTS)}")
    given = list(options.texts)
    for path in options.input or ():
        given += texts_of(path, options.text_column)
    classifiers = find_classifiers(
        options.run, weights_dir=options.weights_dir, plugin=options.plugin, device=options.device
    )
    names, seen = list(classifiers), 0
    spent: dict[str, list[float]] = {name: [] for name in names}
    for texts in _batches(given):
        answers = {name: answer(each, texts, latency=options.latency) for name, each in classifiers.items()}
        if not seen:
            _print_head(names, options)
        seen += len(texts)
        for number, text in enumerate(texts):
            print(WRITERS[options.output](text, {name: answers[name][number] for name in names}))
        sys.stdout.flush()
        for name in names:
            spent[name] += [each.milliseconds for each in answers[name] if each.milliseconds is not None]
    if not seen:
        raise InputError(
            "there is nothing to classify; give messages as arguments, with --input FILE, or one per line on standard "
            "input"
        )
    if options.latency:
        _print_latencies(spent)
    return 0


def _batches(given: Sequence[str]) -> Iterator[list[str]]:
    """What was given, or else what arrives on standard input, a few at a time."""
    for texts in [list(given)] if given else arriving():
        for start in range(0, len(texts), BATCH):
            yield texts[start : start + BATCH]


def _print_head(names: Sequence[str], options: argparse.Namespace) -> None:
    if options.output == "csv":
        print(csv_header(names, latency=options.latency))
    elif options.output == "text" and len(names) > 1:
        print("\t".join([*(f"{printable(name)}\tprobability" for name in names), "text"]))


def _print_latencies(spent: Mapping[str, Sequence[float]]) -> None:
    for name, times in spent.items():
        print(
            f"{printable(name)}: median {statistics.median(times):.2f} ms per message, slowest {max(times):.2f} ms, "
            f"{len(times)} messages one by one",
            file=sys.stderr,
        )


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="headtohead classify",
        description="Classify texts with a finetuned classifier, or with every one of an experiment side by side. "
        "Without texts and --input, reads one per line from standard input and answers as they arrive.",
        epilog='example: headtohead classify results/demo-demo/runs/head-s123-0a1b2c3d "You won a prize!"',
    )
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN_DIR",
        help="a run's folder, results/NAME/runs/RUN, or an experiment's, results/NAME",
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="messages to classify")
    parser.add_argument(
        "--input",
        type=Path,
        action="append",
        metavar="FILE",
        help="a column of a .csv or .tsv, a key of a .jsonl, the lines of any other file; may be repeated",
    )
    parser.add_argument("--text-column", metavar="NAME", help="the column or key of the messages in --input")
    parser.add_argument(
        "--output",
        default="text",
        metavar="FORMAT",
        help="text (default), csv, or jsonl with all probabilities",
    )
    parser.add_argument(
        "--latency", action="store_true", help="classify one message at a time, and say how long that takes"
    )
    parser.add_argument(
        "--weights-dir", type=Path, help="where the base model's checkpoint is, if it has moved"
    )
    parser.add_argument("--plugin", type=Path, help="the strategy's file, if it has moved")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:N or mps (default: cpu)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
