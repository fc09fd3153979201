"""One training run of the demo model: a step, an evaluation, a checkpoint, and the schedule."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headtohead.core.demo import checkpoint
from headtohead.core.demo.material import Material
from headtohead.core.demo.network import mean_loss, new_model, perplexities, unigram_loss
from headtohead.core.demo.objective import SampledSoftmax
from headtohead.core.demo.precision import use_half
from headtohead.core.demo.vocabulary import END_OF_TEXT_ROW
from headtohead.core.demo.windows import NO_TARGET, WindowMaker
from headtohead.core.errors import InputError, TrainingError

POSITIONS = 4096  # per step, in windows of 64 to 256
PEAK_LEARNING_RATE = 3e-3
WARMUP = 0.02  # of the run
LAST_LEARNING_RATE = 0.01  # of the peak
WEIGHT_DECAY = 0.05  # of matrices in blocks; embeddings, norms and biases have none
BETAS = (0.9, 0.98)
LARGEST_GRADIENT = 1.0


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do; ``steps`` goes before ``minutes``."""

    text: Path
    output: Path
    minutes: float = 120.0
    steps: int | None = None
    seed: int = 123
    threads: int = 1
    precision: str = "auto"
    resume: bool = False


class Run:
    """One training run: model, optimizer, and where it stands."""

    def __init__(self, settings: Settings, material: Material) -> None:
        self.settings, self.material = settings, material
        self.half = settings.precision == "bf16"
        self.model = new_model(len(material.vocabulary), settings.seed)
        if self.half:
            use_half(self.model)
        self.windows = WindowMaker(material.pieces, material.vocabulary.counts)
        self.softmax = SampledSoftmax(material.vocabulary.counts)
        self.optimizer = _optimizer(self.model)
        self.step, self.seconds = 0, 0.0
        self.log: list[dict[str, Any]] = []
        self.losses = {"next_token": math.nan, "word_of_message": math.nan}  # running means

    @property
    def progress(self) -> float:
        """From 0 to 1, by steps if their number is given, else by time."""
        if self.settings.steps is not None:
            return min(1.0, self.step / self.settings.steps)
        return min(1.0, self.seconds / (60 * self.settings.minutes))

    @property
    def positions(self) -> int:
        """How many positions were trained so far, padding included."""
        return self.step * POSITIONS

    def train_step(self) -> None:
        """One batch; everything drawn for it depends on the seed and the number of the step alone."""
        start = time.perf_counter()
        random = np.random.default_rng([self.settings.seed, self.step])
        inputs, targets = map(torch.from_numpy, self.windows.batch(random, POSITIONS))
        trained = targets != NO_TARGET
        hidden = self.model(inputs)[trained]  # (B, T, D) -> (N, D)
        table = self.model.tok_emb.weight
        loss, losses = self.softmax(hidden, table, targets[trained], random, self.half)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.progress)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), LARGEST_GRADIENT)
        self.optimizer.step()
        self._note(losses, inputs[trained] == END_OF_TEXT_ROW)
        self.step += 1
        self.seconds += time.perf_counter() - start

    def _note(self, losses: torch.Tensor, in_run: torch.Tensor) -> None:
        for name, chosen in (("next_token", ~in_run), ("word_of_message", in_run)):
            now, before = float(losses[chosen].mean()), self.losses[name]
            if not math.isfinite(now):
                raise TrainingError(
                    f"the loss is {now} at step {self.step}; --resume goes on from the checkpoint"
                )
            self.losses[name] = now if math.isnan(before) else 0.99 * before + 0.01 * now

    def evaluate(self, tokens: int | None) -> dict[str, float]:
        """Validation perplexities, noted in the log; ``tokens`` of each source, None for all there are."""
        start = time.perf_counter()
        losses = {
            name: mean_loss(self.model, _part(messages, tokens))
            for name, messages in self.material.held_out.items()
        }
        found = perplexities(losses, self.material.shares)
        self.seconds += time.perf_counter() - start
        self.log.append(
            {
                "step": self.step,
                "minutes": round(self.seconds / 60, 2),
                "positions": self.positions,
                "learning_rate": f"{learning_rate(self.progress):.3g}",
                **{f"train_loss_{name}": round(value, 4) for name, value in self.losses.items()},
                **{f"validation_perplexity_{name}": round(value, 2) for name, value in found.items()},
            }
        )
        return found

    def unigram(self) -> dict[str, float]:
        """The perplexities of the unigram on everything held out."""
        counts = self.material.vocabulary.counts
        losses = {name: unigram_loss(counts, rows) for name, rows in self.material.held_out.items()}
        return perplexities(losses, self.material.shares)

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        state = {"step": self.step, "seconds": self.seconds, "log": self.log, "losses": self.losses}
        state |= {"seed": self.settings.seed, "precision": self.settings.precision}
        checkpoint.save(path, self.model, self.optimizer, state)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: it cannot be read, or is of a run with other text, seed or precision.
        """
        state = checkpoint.read_state(path)
        for name in ("seed", "precision"):
            if state.get(name) != (asked := getattr(self.settings, name)):
                raise InputError(f"--resume: {path} has {name} {state.get(name)}, this run has {asked}")
        checkpoint.restore(path, self.model, self.optimizer, state["step"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.log, self.losses = state["log"], state["losses"]


def learning_rate(progress: float) -> float:
    """Linear warmup, then a cosine down to LAST_LEARNING_RATE of the peak; ``progress`` from 0 to 1."""
    if progress < WARMUP:
        return PEAK_LEARNING_RATE * max(progress, 0.02 * WARMUP) / WARMUP
    cosine = 0.5 * (1 + math.cos(math.pi * (progress - WARMUP) / (1 - WARMUP)))
    return PEAK_LEARNING_RATE * (LAST_LEARNING_RATE + (1 - LAST_LEARNING_RATE) * cosine)


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    named = list(model.named_parameters())
    decayed = [parameter for name, parameter in named if parameter.dim() == 2 and "_emb" not in name]
    others = [parameter for name, parameter in named if parameter.dim() != 2 or "_emb" in name]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=BETAS, fused=True)


def _part(messages: list[NDArray[np.int32]], tokens: int | None) -> list[NDArray[np.int32]]:
    """About so many tokens' worth of messages, evenly spread; all of them for None."""
    if tokens is None:
        return messages
    return messages[:: max(1, round(sum(map(len, messages)) / tokens))]
