"""The protocol, and what is tried before it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headtohead.core.errors import InputError
from headtohead.core.readout import READOUTS, ReadoutName
from headtohead.experiments.flags import check_count, flag, read_count, read_switch
from headtohead.experiments.spec.seeds import TUNE_SEED, parse_seeds
from headtohead.strategies import did_you_mean

if TYPE_CHECKING:
    from headtohead.core.training import TrainConfig


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The protocol; the defaults are the book's."""

    epochs: int = flag(5, "--epochs", "passes over the training messages (book: 5)", "N", read_count)
    batch_size: int = flag(8, "--batch-size", "messages per step (book: 8)", "N", read_count)
    accumulation_steps: int = flag(
        1,
        "--accumulation-steps",
        "batches whose mean gradient makes one update: --batch-size 2 with 4 of them is a batch of 8 in less memory",
        "N",
        read_count,
    )
    readout: ReadoutName = flag(
        "last",
        "--readout",
        "what classifies: the logits of the last position (book, padding included), of the last_real token, of the "
        "first, or of the mean over all positions",
        "WHERE",
        alias="--position",
    )
    causal: bool = flag(
        True,
        "--causal-mask",
        "on, or off: every token attends to all, padding included (book: on)",
        "on|off",
        read_switch,
    )

    outputs: int | None = flag(
        None,
        "--outputs",
        "1: a single output and binary cross-entropy, for two classes (default: one output per class)",
        "1",
        read_count,
    )
    class_weights: bool = flag(
        False, "--class-weights", "weigh every class in the training loss by how rare it is"
    )

    def __post_init__(self) -> None:
        check_count("--epochs", self.epochs)
        if self.outputs not in (None, 1):
            raise InputError(f"--outputs {self.outputs}: use 1, or leave it out for one output per class")
        check_count("--batch-size", self.batch_size)
        check_count("--accumulation-steps", self.accumulation_steps)
        if self.readout not in READOUTS:
            raise InputError(f"--readout {self.readout}: {did_you_mean(self.readout, READOUTS)}")

    def train_config(self) -> "TrainConfig":
        """The same for the training loop."""
        from headtohead.core.training import TrainConfig

        return TrainConfig(
            epochs=self.epochs,
            batch_size=self.batch_size,
            position=self.readout,
            causal=self.causal,
            outputs=self.outputs,
            class_weights=self.class_weights,
            accumulation_steps=self.accumulation_steps,
        )


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """What is tried on validation messages before the comparison."""

    tune: int | None = flag(
        None,
        "--tune",
        "try N settings of every strategy on the validation messages, and compare the best of each",
        "N",
        read_count,
    )
    sweeps: tuple[str, ...] = flag(
        (),
        "--sweep",
        "the same over values by hand: lora.learning_rate=1e-4/3e-4/1e-3; may be repeated, all combinations are tried",
        "NAME.FIELD=A/B/C",
        repeated=True,
    )
    tune_seeds: tuple[int, ...] | None = flag(
        None,
        "--tune-seeds",
        f"seeds of which the mean chooses (default: {TUNE_SEED})",
        "LIST",
        parse_seeds,
    )
    tune_full: bool = flag(
        False,
        "--tune-full",
        "train every trial for all epochs; else all for a fifth of them, and the best to the end",
    )
    untuned: bool = flag(
        False, "--untuned", "also run every tuned strategy at its defaults, beside the comparison"
    )

    def __post_init__(self) -> None:
        if self.tune is not None:
            check_count("--tune", self.tune)
        needs_trials = {
            "--tune-seeds": self.tune_seeds is not None, "--tune-full": self.tune_full, "--untuned": self.untuned,
        }  # fmt: skip
        for name, given in needs_trials.items():
            if given and not self.any:
                raise InputError(f"{name} says how to tune; give --tune N or --sweep, too, or leave it out")

    @property
    def any(self) -> bool:
        """Whether something is tried."""
        return self.tune is not None or bool(self.sweeps)
