"""The weights and the messages of a benchmark, and what is said about them."""

import statistics
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from headtohead.core import data, weights
from headtohead.core.config import CONFIGS, DEFAULT_MODEL
from headtohead.core.data import Dataset
from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.errors import InputError, Unavailable
from headtohead.core.training import TrainConfig
from headtohead.core.weights import Pretrained
from headtohead.core.weights.random import random_pretrained
from headtohead.experiments.benchmark.rounds import GEMM, Measurements, Settings
from headtohead.experiments.environment import describe_environment
from headtohead.experiments.wording import short_seconds

PEERS = ("llms-from-scratch", "transformers", "peft")


def find_weights(model: str | None, weights_dir: Path | None) -> Pretrained:
    """OpenAI's checkpoint where a folder is named, else random weights of that model's shape.

    Raises:
        InputError: an unknown name, or a folder without a whole checkpoint.
    """
    if weights_dir is not None or model == "demo":
        return weights.find_pretrained(model, weights_dir, download=False)
    name = model or DEFAULT_MODEL
    if name not in CONFIGS:
        raise InputError(f"model {name!r} is unknown; choose one of {', '.join(CONFIGS)}")
    source = f"random weights of {name}'s shape"
    return random_pretrained(name, CONFIGS[name], seed=0, source=source)


def find_messages(
    wanted: str | None, max_length: int | None, pretrained: Pretrained, folder: Path
) -> Dataset:
    """The messages that are asked for; by default the SMS Spam Collection if it is in the cache, else the demo's."""
    length = pretrained.config.context_length

    def load(name: str | None) -> Dataset:
        return data.load_dataset(name, context_length=length, max_length=max_length, download=False)

    if wanted is not None:
        return load(wanted)
    try:
        return load(None)
    except Unavailable:
        return load("demo")


def describe(
    command: str,
    pretrained: Pretrained,
    dataset: Dataset,
    config: TrainConfig,
    settings: Settings,
    found: Measurements,
) -> dict[str, Any]:
    """Everything that a reader needs to judge the numbers, or to measure them again."""
    environment = describe_environment(settings.device)
    for name in PEERS:
        try:
            environment[name] = version(name)
        except PackageNotFoundError:
            environment[name] = "not installed"
    gemm = found.gemm
    rows = {name: len(getattr(dataset, name)) for name in ("train", "validation", "test")}
    where = (
        environment.get("accelerator")
        or f"{environment.get('processor', 'CPU')}, {environment['threads']} threads"
    )
    summary = (
        f"{pretrained.name} ({pretrained.source}) on {dataset.name} ({rows['train']} training messages of "
        f"{dataset.max_length} tokens), {config.epochs} epochs of batches of {config.batch_size}, fp32, on {where}."
    )
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "summary": summary,
        "title": f"One whole run, {pretrained.name} on {dataset.name}; {where}",
        "environment": environment,
        "model": {
            "name": pretrained.name,
            "source": pretrained.source,
            "sha256": pretrained.sha256,
            "config": asdict(pretrained.config),
        },
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "sha256": dataset.sha256,
            "rows": rows,
            "max_length": dataset.max_length,
        },
        "train_config": {key: value for key, value in asdict(config).items() if key != "position"},
        "settings": asdict(settings),
        "work": {position: asdict(work) for position, work in found.work.items()},
        "gemm": {
            "shape": list(GEMM),
            "operations_per_second": statistics.median(gemm) if gemm else None,
            "lowest": min(gemm, default=None),
            "highest": max(gemm, default=None),
        },
    }


def notes(settings: Settings, found: Measurements, dataset: Dataset) -> list[str]:
    """How the numbers came about, a sentence each."""
    work = next(iter(found.work.values()))
    distinct = len(distinct_sequences(dataset, TrainConfig()))
    sampled = (
        "The frozen prefix was computed for every distinct message, once."
        if settings.full
        else f"The frozen prefix was computed in every round for about {100 * settings.prefix_fraction:.0f} % of the "
        f"{distinct:,} distinct messages, and its time, its time from disk and its memory were scaled up by tokens; "
        "--full computes all of it."
    )
    speed = statistics.median(found.gemm) / 1e9 if found.gemm else float("nan")
    return [
        f"A whole run is composed of measured parts: {work.steps} steps and {work.evaluation_batches} forward-only "
        f"batches (the engine evaluates each distinct message once between two steps: {work.evaluation_rows:,} "
        "messages), plus the frozen prefix where there is one. Loading the model, and saving and reloading the "
        "classifier, are left out for all.",
        f"{settings.rounds} rounds, every contender once in each, in changing order; numbers are medians over "
        "rounds, and ratios are taken within a round.",
        sampled,
        f"Drawing the batches' row numbers ({short_seconds(work.loop_seconds)} per run) is charged to the engine only.",
        f"{settings.timed_steps} different batches are timed per turn, chosen evenly from short to long messages.",
        "Peers use torch's default AdamW, and no dropout, as all others. transformers keeps no key-value cache, and "
        "gets a bias in its head, as the others have.",
        "Peak memory: resident memory of the contender's own process (allocated memory on a GPU), from before its "
        "first step to after the compared ones.",
        f"GEMM speed: {speed:,.0f} GFLOP/s, the median over rounds of a {GEMM[0]}x{GEMM[1]}x{GEMM[2]} fp32 product "
        "by the faster library. FLOPs are counted by torch while a step runs: what is computed, not what the book's "
        "step would need.",
        "Loss difference: the largest over the first "
        f"{settings.loss_steps} steps, against the book's model under the same protocol. last_real is read at the last "
        "real token instead of the last position, so it is another protocol with other losses.",
    ]
