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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from headtohead.core.demo import checkpoint
from headtohead.core.demo.load import demo_config, write_weights
from headtohead.core.demo.material import prepare
from headtohead.core.demo.network import start_embeddings
from headtohead.core.demo.precision import PRECISIONS, half_is_faster
from headtohead.core.demo.run import Run, Settings
from headtohead.core.errors import InputError, TrainingError
from headtohead.core.files import write_text_atomic

EVALUATIONS = 20  # in a run, evenly spaced, beside the last one
QUICK_TOKENS = 2048  # of each source, in all evaluations but the last
CHECKPOINT_SECONDS = 300


def pretrain(settings: Settings, console: Console) -> Run:
    """Train from the settings and write the model and its log to the output folder.

    Raises:
        InputError: the text cannot be read, the output folder cannot be written, or the checkpoint does not fit.
    """
    kept = settings.output / "checkpoint.safetensors"
    _check_output(settings.output)
    if settings.resume:
        checkpoint.read_state(kept)  # reading the text takes minutes: what is wrong here is said first
    torch.set_num_threads(settings.threads)
    console.print(f"Reading {settings.text}")
    material = prepare(settings.text, settings.seed, settings.threads)
    run = Run(_with_precision(settings), material)
    console.print(
        f"{len(material.pieces.rows):,} tokens in {len(material.pieces.starts) - 1:,} messages (each in two "
        f"spellings), {len(material.vocabulary):,} rows, {run.settings.precision}; unigram perplexity on held-out "
        f"lines {run.unigram()['all']:.0f}"
    )
    if settings.resume:
        run.restore(kept)
        console.print(f"Going on after step {run.step:,}")
    else:
        start_embeddings(run.model, material, settings.seed)
    _train(run, kept, console)
    _publish(run, console)
    kept.unlink(missing_ok=True)
    return run


def _check_output(folder: Path) -> None:
    """Say before the training, not after it, that nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text_atomic(folder / ".writable", "")
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"--output {folder} cannot be written: {error.strerror}; give another folder"
        ) from error


def _with_precision(settings: Settings) -> Settings:
    """Decide "auto" by a measurement; what was decided is written down with the model."""
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
        "positions": run.positions,
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
    """The command line; returns the exit code.

    0 when the model is written, 1 for a loss that is not finite, 2 for bad input, 130 when interrupted.
    """
    settings = _settings(arguments)
    console = Console(soft_wrap=True)
    try:
        pretrain(settings, console)
    except (InputError, TrainingError) as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    except KeyboardInterrupt:
        print(f"interrupted; --resume goes on from the last checkpoint in {settings.output}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
