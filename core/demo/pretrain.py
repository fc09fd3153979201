"""Pretrain the embedded demo model from a folder of text.

    python -m core.demo.pretrain --text DIR --minutes 80 --output demo-model

reads DIR/*.txt and DIR/*.txt.xz and writes to the output folder ``model.safetensors`` and ``training_log.csv``
(and, while it runs, ``checkpoint.safetensors``: after an interruption the same command with ``--resume`` goes
on). ``--steps`` instead of ``--minutes`` makes a run that another one repeats bit for bit, given the same text,
seed, threads, precision and machine.
"""

import argparse
import csv
import io
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from headtohead.core.demo import checkpoint
from headtohead.core.demo.load import demo_config, write_weights
from headtohead.core.demo.material import Material, prepare
from headtohead.core.demo.network import mean_loss, new_model, perplexities, start_embeddings, unigram_loss
from headtohead.core.demo.objective import SampledSoftmax
from headtohead.core.demo.precision import PRECISIONS, half_is_faster, use_half
from headtohead.core.demo.vocabulary import END_OF_TEXT_ROW
from headtohead.core.demo.windows import NO_TARGET, WindowMaker
from headtohead.core.errors import InputError
from headtohead.core.files import write_text_atomic

POSITIONS = 4096  # per step, in windows of 64 to 256
PEAK_LEARNING_RATE = 3e-3
WARMUP = 0.02  # of the run
LAST_LEARNING_RATE = 0.01  # of the peak
WEIGHT_DECAY = 0.05  # of matrices in blocks; embeddings, norms and biases have none
BETAS = (0.9, 0.98)
LARGEST_GRADIENT = 1.0
EVALUATIONS = 20  # in a run, evenly spaced, beside the last one
QUICK_TOKENS = 2048  # of each source, in all evaluations but the last
CHECKPOINT_SECONDS = 300


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
                "positions": self.step * POSITIONS,
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


def pretrain(settings: Settings, console: Console) -> Run:
    """Train from the settings and write the model and its log to the output folder.

    Raises:
        InputError: the text cannot be read, the output folder cannot be written, or the checkpoint does not fit.
    """
    torch.set_num_threads(settings.threads)
    console.print(f"Reading {settings.text}")
    material = prepare(settings.text, settings.seed, settings.threads)
    settings = _with_precision(settings)
    run = Run(settings, material)
    console.print(
        f"{len(material.pieces.rows):,} tokens in {len(material.pieces.starts) - 1:,} messages (each in two "
        f"spellings), {len(material.vocabulary):,} rows, {settings.precision}; unigram perplexity on held-out "
        f"lines {run.unigram()['all']:.0f}"
    )
    kept = settings.output / "checkpoint.safetensors"
    if settings.resume:
        run.restore(kept)
        console.print(f"Going on after step {run.step:,}")
    else:
        start_embeddings(run.model, material, settings.seed)
    _train(run, kept, console)
    _publish(run, console)
    kept.unlink(missing_ok=True)
    return run


def _with_precision(settings: Settings) -> Settings:
    """ "auto" decided by a measurement; what was decided is written down with the model."""
    if settings.precision != "auto":
        return settings
    faster = half_is_faster(demo_config().emb_dim)
    return replace(settings, precision="bf16" if faster else "fp32")


def _train(run: Run, kept: Path, console: Console) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    saved = run.seconds
    evaluated = math.floor(run.progress * EVALUATIONS)
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Pretraining", total=1.0)
        while run.progress < 1.0:
            run.train_step()
            progress.update(task, completed=run.progress)
            if run.progress < 1.0 and math.floor(run.progress * EVALUATIONS) > evaluated:
                evaluated = math.floor(run.progress * EVALUATIONS)
                run.evaluate(QUICK_TOKENS)
                progress.console.print(_line(run))
            if run.seconds - saved > CHECKPOINT_SECONDS:
                saved = run.seconds
                run.save(kept)


def _line(run: Run) -> str:
    row = run.log[-1]
    return (
        f"step {row['step']:,}  {row['minutes']:.1f} min  next token {row['train_loss_next_token']:.3f}  "
        f"word of message {row['train_loss_word_of_message']:.3f}  "
        f"validation perplexity {row['validation_perplexity_all']:.1f}"
    )


def _publish(run: Run, console: Console) -> None:
    """The last evaluation, on everything held out, then the model and its log."""
    found, unigram = run.evaluate(None), run.unigram()
    facts = {
        "seed": run.settings.seed,
        "threads": run.settings.threads,
        "precision": run.settings.precision,
        "steps": run.step,
        "positions": run.step * POSITIONS,
        "validation_perplexity": {name: round(value, 2) for name, value in found.items()},
        "unigram_perplexity": {name: round(value, 2) for name, value in unigram.items()},
    }
    path = run.settings.output / "model.safetensors"
    try:
        sha256 = write_weights(
            path, dict(run.model.named_parameters()), run.material.vocabulary.row_of, facts
        )
        write_text_atomic(run.settings.output / "training_log.csv", _csv(run.log))
    except OSError as error:
        raise InputError(f"--output {run.settings.output} cannot be written: {error.strerror}") from error
    console.print(_line(run))
    console.print(f"unigram perplexity {unigram['all']:.1f}; wrote {path}, sha256 {sha256}")


def _csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(
        prog="python -m core.demo.pretrain", description="Pretrain the demo model."
    )
    parser.add_argument("--text", type=Path, required=True, help="folder with .txt and .txt.xz files")
    parser.add_argument("--output", type=Path, default=Path("demo-model"), help="folder to write to")
    parser.add_argument("--minutes", type=float, default=120.0, help="training time (default 120)")
    parser.add_argument("--steps", type=int, help="train so many steps, whatever time they take")
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of matrix products")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --output")
    chosen = Settings(**vars(parser.parse_args(arguments)))
    for name, value in (("minutes", chosen.minutes), ("steps", chosen.steps), ("threads", chosen.threads)):
        if value is not None and not 0 < value < math.inf:
            parser.error(f"--{name} is {value}, but must be above 0")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 2 for bad input, 130 when interrupted."""
    settings = _settings(arguments)
    console = Console(soft_wrap=True)
    try:
        pretrain(settings, console)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"interrupted; --resume goes on from the last checkpoint in {settings.output}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
