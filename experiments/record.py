"""What one run leaves behind: ``record.json`` and ``history.csv``, written whole and read back."""

import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from headtohead.core.errors import InputError
from headtohead.core.files import write_text_atomic
from headtohead.core.json_files import build, read_object

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 3
READABLE = (1, 2, 3)  # earlier versions lack what has a default here
FALL = 0.1  # of the training loss: less is within what the few batches that measure it differ by
RECORD_FILE = "record.json"
HISTORY_FILE = "history.csv"
TRACEBACK_FILE = "traceback.txt"
_NUMBERS = re.compile(r"\[\n\s+[-0-9][^\[\]{}\"]*\]")
HISTORY_COLUMNS = (
    "step", "epoch", "examples_seen", "train_loss", "validation_loss", "train_accuracy", "validation_accuracy",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything known about one run (a variant x a seed).

    Flat, with the units in the names; accuracies, precision, recall and F1 are fractions from 0 to 1.
    None means unknown: a failed run has no accuracy, and no number ever stands in for one.
    """

    run_id: str
    strategy: str
    label: str
    seed: int
    status: Literal["ok", "failed"]
    role: Literal["run", "trial"] = "run"  # a trial chooses hyperparameters and never meets the test messages
    trial_of: str | None = None  # the label for which a trial chooses
    split: str | None = None  # of core/other_splits.py; None for the data set's own
    train_size: int | None = None  # training messages of a class-balanced subset; None for all
    schema_version: int = SCHEMA_VERSION
    family: str = ""
    description: str = ""
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    model: str | None = None
    model_sha256: str | None = None
    weights_source: str | None = None  # one sentence: from where the weights came
    dataset: str | None = None
    dataset_sha256: str | None = None
    preparation: dict[str, Any] | None = None  # how rows became splits: core.data.Preparation
    train_config: dict[str, Any] = field(default_factory=dict)
    max_length: int | None = None  # tokens of a message, padding included
    precision: str | None = None
    readout: str | None = None  # what the class is read from: last, last_real, first, mean
    causal: bool | None = None  # whether a token attends to itself and those before it only
    code_hash: str | None = None  # of the strategy's file and the helpers that it imports
    git_commit: str | None = None  # of the checkout; None where the code was in none
    git_dirty: bool | None = None
    launcher: str | None = None
    retries: int | None = None  # how often the run was begun in vain, because its worker or node died
    plan: dict[str, Any] = field(default_factory=dict)  # plan["words"]: list of sentences
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    trainable_params: int | None = None
    total_params: int | None = None
    trainable_percent: float | None = None  # 0..100
    classifier_bytes: int | None = None

    # Before the first step, on the first ten batches of each split.
    before_train_accuracy: float | None = None
    before_validation_accuracy: float | None = None
    before_test_accuracy: float | None = None
    first_train_loss: float | None = None  # the first that was measured, on the protocol's few batches
    train_loss: float | None = None
    validation_loss: float | None = None
    train_accuracy: float | None = None
    validation_accuracy: float | None = None
    test_accuracy: float | None = None
    test_loss: float | None = None
    test_precision: float | None = None
    test_recall: float | None = None
    test_f1: float | None = None
    test_confusion: list[list[int]] | None = None  # rows: true class, columns: predicted class
    test_predictions: list[int] | None = None  # in the order of data/test.csv
    test_class_precision: list[float | None] | None = None  # by class; None for one that was never predicted
    test_class_recall: list[float | None] | None = None
    test_class_f1: list[float | None] | None = None
    test_macro_f1: float | None = None
    test_roc_auc: float | None = None  # of class 1, or the mean over more than two classes
    test_average_precision: float | None = None
    test_brier: float | None = None
    test_calibration_error: float | None = None
    # Class probabilities of each message in the order of data/*.csv, rounded (metrics.DECIMALS). They stand here and
    # not in a file of their own, so that results.json alone allows every figure to be computed again.
    test_probabilities: list[list[float]] | None = None
    validation_probabilities: list[list[float]] | None = None
    language_loss_before: float | None = None  # nats per token of a plain text, with the pretrained head
    language_loss_after: float | None = None

    epochs: int | None = None
    steps: int | None = None
    examples_seen: int | None = None

    setup_seconds: float | None = None
    selection_seconds: float | None = None  # choosing settings on the training or validation messages
    prefix_seconds: float | None = None
    train_seconds: float | None = None
    eval_seconds: float | None = None
    total_seconds: float | None = None
    examples_per_second: float | None = None
    peak_memory_bytes: int | None = None
    memory_above_model_bytes: int | None = None  # the peak less what the loaded model takes
    flops_per_step: int | None = None  # of the first training step, computed the plain way
    latency_ms: float | None = None  # of one message, from its text to its class
    latency_batch_ms: float | None = None  # of 64 messages together
    merged_latency_ms: float | None = None  # the same with what was inserted folded into the weights
    merged_latency_batch_ms: float | None = None
    train_joules: float | None = None  # by the machine's counters, which other processes move, too
    isolated: bool = False  # done in a process of its own
    grouped: bool = False  # timed together with other seeds: never averaged with runs timed alone

    environment: dict[str, Any] = field(default_factory=dict)
    created_at: str | None = None  # ISO 8601, UTC

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def is_partial(self) -> bool:
        """Whether it is of a subset of the training messages, or of another split."""
        return self.train_size is not None or self.split is not None

    @property
    def title(self) -> str:
        """:func:`run_title` of the run."""
        return run_title(self.label, self.seed, self.train_size, self.split)

    @property
    def loss_fell(self) -> bool | None:
        """Whether training took at least FALL of the training loss away; None where that is not known."""
        if self.train_loss is None or self.first_train_loss is None:
            return None
        return self.train_loss < (1 - FALL) * self.first_train_loss


def run_title(label: str, seed: int, train_size: int | None, split: str | None) -> str:
    """What one run of an experiment is called while it runs: "lora, seed 1, 64 messages"."""
    parts = [f"{train_size} messages" if train_size else "", split or ""]
    return ", ".join([label, f"seed {seed}", *(part for part in parts if part)])


def save_record(directory: Path, record: RunRecord) -> Path:
    """Write ``directory/record.json`` whole; NaN and infinities become null, as JSON has no word for them."""
    path = directory / RECORD_FILE
    write_text_atomic(path, to_json(asdict(record)))
    return path


def load_record(directory: Path) -> RunRecord:
    """Read ``directory/record.json``.

    Raises InputError for a file that is absent, no JSON, lacks a required field, has a field unknown here, or a value
    of another type than its field.
    """
    path = directory / RECORD_FILE
    content = read_json(path)
    version = content.get("schema_version")
    unknown = sorted(set(content) - {each.name for each in fields(RunRecord)})
    if unknown or version not in READABLE:
        extra = f", unknown fields {', '.join(unknown)}" if unknown else ""
        raise InputError(
            f"{path} has schema version {version}{extra}; this headtohead reads version {SCHEMA_VERSION}: "
            "use the headtohead that wrote it, or run the experiment again with --force."
        )
    content["schema_version"] = SCHEMA_VERSION
    return build(RunRecord, content, str(path), "delete its folder and run the experiment again.")


def run_directory(directory: Path, run_id: str) -> Path:
    """Where the run ``run_id`` of the experiment in ``directory`` lies."""
    return directory / "runs" / run_id


def load_history(directory: Path) -> "pd.DataFrame | None":
    """A run's history.csv as a table with HISTORY_COLUMNS (NaN where not measured); None where there is none."""
    import pandas as pd

    path = directory / HISTORY_FILE
    if not path.is_file():
        return None
    fix = "run the experiment again with --force."
    try:
        history = pd.read_csv(path)
    except ValueError as problem:  # pandas' own errors and broken UTF-8 are ValueErrors, too
        raise InputError(f"{path} cannot be read ({problem}); {fix}") from problem
    absent = [name for name in HISTORY_COLUMNS if name not in history.columns]
    if absent:
        raise InputError(f"{path} lacks the columns {', '.join(absent)}; {fix}")
    if history.empty:  # a baseline's
        return None
    words = [name for name in HISTORY_COLUMNS if not pd.api.types.is_numeric_dtype(history[name])]
    if words:
        raise InputError(f"{path}: the column {words[0]} does not hold numbers alone; {fix}")
    return history


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from ``path``; InputError naming the file where it is absent or is not one."""
    try:
        return read_object(path, "delete its folder and run again.")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name the folder of an experiment that was run.") from None


def to_json(content: Any) -> str:
    """``content`` as indented JSON text that ends in a newline, with null for every number that is not finite."""
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    # Lists of numbers on one line: thousands of predictions would be thousands of lines. No line ends inside a text.
    return (
        _NUMBERS.sub(lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
        + "\n"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item") and not isinstance(value, str | bytes):  # a NumPy or torch scalar
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
