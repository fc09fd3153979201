"""The classifiers of an experiment: which there are, loaded when they are first asked, and what they answer."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headtohead.core.classifier import Classifier, load_classifier
from headtohead.core.errors import InputError
from headtohead.experiments.folder import EXPERIMENT_FILE, load_experiment
from headtohead.experiments.playground.influence import Piece, influences
from headtohead.experiments.record import RunRecord, run_directory

KEPT = 6  # models in memory at once; the one that was not asked for longest goes first
EXAMPLES = 40  # test messages shown on which the classifiers disagree


@dataclass(frozen=True)
class Answer:
    """What a classifier says of one message: its label, that label's probability, and every label's."""

    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class Example:
    """A test message on which the classifiers disagree: its true label, and how many said what."""

    text: str
    truth: str
    said: dict[str, int]


@dataclass
class Classifiers:
    """One classifier per strategy, that of its first finished seed.

    Attributes:
        runs: run id -> its record, in the report's order.
    """

    directory: Path
    runs: dict[str, RunRecord]
    label_names: tuple[str, ...]
    name: str
    is_demo: bool
    examples: tuple[Example, ...] = ()
    weights_dir: Path | None = None
    device: str = "cpu"
    _loaded: OrderedDict[str, Classifier] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, directory: Path, weights_dir: Path | None = None, device: str = "cpu") -> "Classifiers":
        """Those of the experiment in ``directory``.

        Raises:
            InputError: no experiment there, or none of its runs left a classifier.
        """
        experiment = load_experiment(directory)
        about = experiment.description
        first: dict[str, RunRecord] = {}
        for record in experiment.records:
            if record.ok and (run_directory(directory, record.run_id) / "classifier").is_dir():
                first.setdefault(record.label, record)
        if not first:
            raise InputError(f"{directory} holds no finetuned classifier; run the experiment here first")
        runs = {record.run_id: record for record in first.values()}
        names = tuple(about["dataset"]["label_names"])
        return cls(
            directory, runs, names, about["name"], bool(experiment.demo_parts),
            _disagreements(directory, list(runs.values()), names), weights_dir, device,
        )  # fmt: skip

    def classify(self, run_id: str, texts: Sequence[str]) -> tuple[list[Answer], float]:
        """The run's answers to ``texts`` and the seconds that they took, without loading the model."""
        with self._lock:
            classifier = self._get(run_id)
            started = time.perf_counter()
            shares = classifier.logits(texts).softmax(dim=-1)
            seconds = time.perf_counter() - started
        names = classifier.info.label_names
        answers = []
        for row in shares.tolist():
            best = max(range(len(row)), key=row.__getitem__)
            answers.append(Answer(names[best], row[best], dict(zip(names, row, strict=True))))
        return answers, seconds

    def influence(self, run_id: str, text: str) -> list[Piece]:
        """How much each piece of ``text`` speaks for the run's answer."""
        with self._lock:
            return influences(self._get(run_id), text)

    def _get(self, run_id: str) -> Classifier:
        if run_id not in self._loaded:
            folder = run_directory(self.directory, run_id)
            found = load_classifier(folder, weights_dir=self.weights_dir, device=self.device)
            self._loaded[run_id] = found
            if len(self._loaded) > KEPT:
                self._loaded.popitem(last=False)
        self._loaded.move_to_end(run_id)
        return self._loaded[run_id]


def experiment_folder(path: Path) -> Path:
    """The experiment's folder that ``path`` is, or the only one below it.

    Raises:
        InputError: there is none, or more than one.
    """
    if (path / EXPERIMENT_FILE).is_file():
        return path
    found = sorted(each.parent for each in path.glob(f"*/{EXPERIMENT_FILE}"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(f"{path} holds no experiment; give a folder such as results/NAME")
    raise InputError(f"{path} holds {len(found)} experiments; give one of {', '.join(map(str, found))}")


def _disagreements(
    directory: Path, records: Sequence[RunRecord], names: Sequence[str]
) -> tuple[Example, ...]:
    """The test messages on which the runs' predictions differ, those most disputed first."""
    import pandas as pd

    path = directory / "data" / "test.csv"
    said = [record.test_predictions for record in records if record.test_predictions]
    if not path.is_file() or len(said) < 2:
        return ()
    table = pd.read_csv(path, keep_default_na=False)
    found = []
    for text, truth, *answers in zip(table["Text"], table["Label"], *said, strict=True):
        counts = {names[number]: answers.count(number) for number in dict.fromkeys(answers)}
        if len(counts) > 1:
            label = names[truth] if isinstance(truth, int) else str(truth)
            found.append(Example(str(text), label, counts))
    found.sort(key=lambda example: max(example.said.values()))
    return tuple(found[:EXAMPLES])
