"""The book's bonus experiments as named settings of our flags, and what was published for each.

Source: Raschka, https://github.com/rasbt/LLMs-from-scratch, ``ch06/02_bonus_additional-experiments`` (nineteen rows,
GPT-2 on the SMS Spam Collection, one seed, an A100) and ``ch06/03_bonus_imdb-classification`` (50,000 IMDb reviews).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BOOK_LORA = "lora_book@r=16+alpha={alpha}+divide_by_r=false+learning_rate=5e-5"
CONTEXT = "context"  # of --max-length: as many tokens as the model reads


@dataclass(frozen=True)
class Published:
    """Accuracies in percent, and minutes of training on an A100 where they were given."""

    train: float
    validation: float
    test: float
    minutes: float | None = None


@dataclass(frozen=True)
class Row:
    """One experiment.

    Attributes:
        says: what tells it from the first row.
        strategy: a label; with ``settings``, flags by key, this is the whole difference.
        size: the published GPT-2 that it is about.
        note: what must be known to read our figure.
    """

    number: int
    says: str
    strategy: str
    published: Published
    size: str = "124M"
    settings: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Suite:
    """Rows on one data set; ``settings`` hold for all."""

    name: str
    title: str
    data: str
    rows: tuple[Row, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


BONUS = Suite(
    "bonus",
    "The book's nineteen bonus experiments",
    "sms_spam",
    (
        Row(1, "the chapter's own", "last_block", Published(96.63, 99.33, 95.00, 0.28)),
        Row(2, "the first token", "last_block", Published(78.46, 80.54, 75.00, 0.28), settings={"readout": "first"}),
        Row(3, "the head only", "head", Published(78.65, 79.87, 72.00, 0.25)),
        Row(4, "the last two blocks", "last_n_blocks@n=2", Published(98.85, 98.66, 98.33, 0.33)),
        Row(5, "all layers", "all_layers", Published(99.62, 96.64, 96.67, 0.69)),
        Row(6, "355M", "last_block", Published(87.50, 91.28, 84.67, 0.75), "355M"),
        Row(7, "774M", "last_block", Published(99.52, 98.66, 96.67, 1.50), "774M"),
        Row(8, "1558M", "last_block", Published(99.81, 99.81, 98.33, 2.83), "1558M"),
        Row(9, "1558M, all layers", "all_layers", Published(100.00, 98.66, 98.67, 8.12), "1558M"),
        Row(
            10, "all layers from random weights", "all_layers", Published(100.00, 96.64, 93.67, 0.69),
            settings={"weights": "random"},
        ),
        Row(11, "LoRA, scaled by alpha 16", BOOK_LORA.format(alpha=16), Published(100.00, 97.32, 96.67, 0.75)),
        Row(
            12, "1558M, LoRA, scaled by alpha 8", BOOK_LORA.format(alpha=8), Published(100.00, 98.66, 98.33, 5.79),
            "1558M",
        ),
        Row(
            13, "padded to the whole context", "last_block", Published(83.08, 87.92, 78.33, 2.46),
            settings={"max_length": CONTEXT},
        ),
        Row(
            14, "no padding, batches of 1", "last_block", Published(100.00, 98.66, 98.00, 1.75),
            settings={"batch_size": 1, "readout": "last_real"},
            note="with causal attention, reading the last real token is the same as not padding",
        ),
        Row(
            15, "no padding, batches of 1, gradients of 8 accumulated", "last_block",
            Published(99.33, 98.66, 98.33, 1.70),
            settings={"batch_size": 1, "readout": "last_real", "accumulation_steps": 8},
            note="as row 14",
        ),
        Row(
            16, "the last real token", "last_block", Published(99.42, 98.66, 98.33, 0.30),
            settings={"readout": "last_real"},
        ),
        Row(
            17, "no causal mask", "last_block", Published(99.23, 98.66, 95.33, 0.29), settings={"causal_mask": "off"},
        ),
        Row(
            18, "padding's index ignored in the loss", "last_block", Published(96.63, 99.33, 95.00, 0.28),
            note="changes nothing: no label is 50256, so this is row 1",
        ),
        Row(
            19, "the mean over all positions", "last_block", Published(97.79, 99.33, 96.33, 0.32),
            settings={"readout": "mean"},
        ),
    ),
)  # fmt: skip

IMDB = Suite(
    "imdb",
    "The book's IMDb bonus: GPT-2 against logistic regression",
    "imdb",
    (
        Row(1, "GPT-2, all layers, one epoch", "all_layers", Published(95.64, 92.32, 91.88, 9.48)),
        Row(
            2, "logistic regression", "tfidf_logreg", Published(99.80, 88.62, 88.85),
            note="ours weighs words by TF-IDF and chooses its settings on validation; the book counts words",
        ),
        Row(3, "the most frequent class", "majority", Published(50.01, 50.14, 49.91)),
    ),
    {"epochs": 1, "max_length": 256},
)  # fmt: skip

SUITES = {suite.name: suite for suite in (BONUS, IMDB)}
