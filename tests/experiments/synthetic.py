"""An experiment's folder with made-up numbers, so that the report is tested without training anything."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from headtohead.core.files import write_text_atomic
from headtohead.experiments.metrics import prediction_metrics, probability_metrics, recorded
from headtohead.experiments.record import SCHEMA_VERSION, RunRecord, run_directory, save_record, to_json

STEPS_PER_EPOCH, EPOCHS, BATCH_SIZE = 130, 5, 8
N_TRAIN, N_VALIDATION = 1045, 149
TRAIN_CONFIG = {
    "epochs": EPOCHS, "batch_size": BATCH_SIZE, "position": "last", "evaluate_every": 50, "evaluate_batches": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """One made-up strategy: its test accuracy is drawn around ``skill``."""

    label: str
    family: str = "selective"
    params: int = 1538
    skill: float = 0.95
    seconds: float = 10.0
    grouped: bool = False
    warnings: tuple[str, ...] = ()


FOUR = (
    Made("head", params=1_538, skill=0.74, seconds=4.1),
    Made("last_block", params=7_090_946, skill=0.955, seconds=9.8),
    Made("all_layers", params=124_441_346, skill=0.965, seconds=41.0),
    Made("lora", "low-rank", 2_668_066, 0.965, 36.0),
)


def thirty() -> tuple[Made, ...]:
    """Thirty strategies in seven families, with close accuracies, equal counts, and baselines that train nothing."""
    families = {
        "selective": [
            "head",
            "last_block",
            "last_n_blocks@n=2",
            "first_n_blocks",
            "norms",
            "bitfit",
            "all_layers",
        ],
        "low-rank": ["lora", "lora@r=4+alpha=8", "dora", "adalora", "lora_plus", "vera", "loha", "lokr"],
        "scaling": ["ia3", "vector_scaling"],
        "orthogonal": ["oft", "boft", "hra", "road"],
        "adapters": ["bottleneck", "bottleneck@kind=pfeiffer", "parallel_adapter", "side_tuning"],
        "prompts": ["prompt_tuning", "prefix_tuning"],
        "baselines": ["majority", "tfidf_logreg", "linear_probe"],
    }
    rng = np.random.default_rng(7)
    made = []
    for family, labels in families.items():
        for label in labels:
            params = 0 if family == "baselines" else int(10 ** rng.uniform(3.5, 6.5))
            made.append(
                Made(label, family, params, float(rng.uniform(0.86, 0.98)), float(rng.uniform(4, 40)))
            )
    fixed = {
        "head": (1_538, 0.74),
        "all_layers": (124_441_346, 0.97),
        "majority": (0, 0.5),
        "tfidf_logreg": (0, 0.93),
    }
    return tuple(
        Made(each.label, each.family, *fixed[each.label], each.seconds) if each.label in fixed else each
        for each in made
    )


def write_synthetic(
    directory: Path,
    strategies: Sequence[Made] = FOUR,
    seeds: Sequence[int] = (123,),
    *,
    failed: Mapping[tuple[str, int], str] | None = None,
    missing: Sequence[tuple[str, int]] = (),
    demo: bool = False,
    n_test: int = 300,
) -> Path:
    """Write experiment.json, data/test.csv and one run per strategy and seed; returns ``directory``."""
    rng = np.random.default_rng(0)
    labels = np.arange(n_test) % 2
    difficulty = rng.uniform(size=n_test)  # shared by all strategies: they stumble over the same messages
    texts = [f"message {index}" for index in range(n_test)]
    (directory / "data").mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"Label": labels, "Text": texts}).to_csv(directory / "data" / "test.csv", index=False)
    train = {
        "Label": np.arange(N_TRAIN) % 2,
        "Text": [f"training message {index}" for index in range(N_TRAIN)],
    }
    pd.DataFrame(train).to_csv(directory / "data" / "train.csv", index=False)
    validation = {
        "Label": np.arange(N_VALIDATION) % 2,
        "Text": [f"validation message {index}" for index in range(N_VALIDATION)],
    }
    pd.DataFrame(validation).to_csv(directory / "data" / "validation.csv", index=False)
    write_text_atomic(
        directory / "experiment.json", to_json(_description(directory, strategies, seeds, demo, n_test))
    )
    for made in strategies:
        for seed in seeds:
            if (made.label, seed) in missing:
                continue
            run = run_directory(directory, f"{_slug(made.label)}-s{seed}")
            error = (failed or {}).get((made.label, seed))
            save_record(
                run, _failed(made, seed, error) if error else _finished(made, seed, labels, difficulty)
            )
            if not error and made.params:
                _history(made, seed).to_csv(run / "history.csv", index=False)
    return directory


def _slug(label: str) -> str:
    return "".join(character if character.isalnum() or character in "_.=+@-" else "_" for character in label)


def _description(
    directory: Path, strategies: Sequence[Made], seeds: Sequence[int], demo: bool, n_test: int
) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "name": directory.name,
        "command": "python run_all.py --strategies " + ",".join(made.label for made in strategies),
        "created_at": "2026-01-02T03:04:05Z",
        "strategies": [
            {
                "strategy": made.label.split("@")[0],
                "label": made.label,
                "description": _sentence(made),
                "family": made.family,
                "learning_rate": _learning_rate(made),
                "hyperparameters": _hyperparameters(made),
            }
            for made in strategies
        ],
        "seeds": list(seeds),
        "run_ids": [f"{_slug(made.label)}-s{seed}" for made in strategies for seed in seeds],
        "runs": {
            f"{_slug(made.label)}-s{seed}": {"label": made.label, "seed": seed}
            for made in strategies
            for seed in seeds
        },
        "model": {
            "name": "demo" if demo else "124M",
            "source": "a small GPT with random weights" if demo else "OpenAI's GPT-2 checkpoint",
            "sha256": "a" * 64,
            "config": {"emb_dim": 768, "n_layers": 12, "n_heads": 12, "context_length": 1024, "vocab_size": 50257},
            "is_demo": demo,
        },
        "dataset": {
            "name": "demo" if demo else "sms_spam",
            "source": "the embedded demo messages" if demo else "SMS Spam Collection, UCI, CC BY 4.0",
            "sha256": "b" * 64,
            "label_names": ["ham", "spam"],
            "rows": {"train": N_TRAIN, "validation": N_VALIDATION, "test": n_test},
            "max_length": 120,
            "is_demo": demo,
            "test_texts_seen_in_train": 11,
        },
        "train_config": TRAIN_CONFIG,
        "environment": {"python": "3.12.1", "torch": "2.13.0", "device": "cpu", "processor": "made up", "cores": 2},
    }  # fmt: skip


def _sentence(made: Made) -> str:
    return f"Trains what {made.label} says.\n\nTrainable parameters: {made.params}.\nReference: made up."


def _learning_rate(made: Made) -> float | None:
    return None if made.family == "baselines" else (8e-4 if made.family == "low-rank" else 5e-5)


def _hyperparameters(made: Made) -> dict[str, object]:
    if made.family == "baselines":
        return {}
    rank = {"r": 16, "alpha": 16.0} if made.family == "low-rank" else {}
    return {"learning_rate": _learning_rate(made), "weight_decay": 0.1, **rank}


def _shared(made: Made, seed: int) -> dict[str, object]:
    return {
        "run_id": f"{_slug(made.label)}-s{seed}", "strategy": made.label.split("@")[0], "label": made.label,
        "seed": seed, "family": made.family, "description": _sentence(made), "hyperparameters": _hyperparameters(made),
        "model": "124M", "model_sha256": "a" * 64, "dataset": "sms_spam", "dataset_sha256": "b" * 64, "max_length": 120,
        "environment": {"torch": "2.13.0"}, "created_at": "2026-01-02T03:04:05Z",
        "train_config": TRAIN_CONFIG,
    }  # fmt: skip


def _failed(made: Made, seed: int, error: str) -> RunRecord:
    return RunRecord(**_shared(made, seed), status="failed", error=error)  # type: ignore[arg-type]


def _finished(made: Made, seed: int, labels: np.ndarray, difficulty: np.ndarray) -> RunRecord:
    rng = np.random.default_rng([seed, *made.label.encode()])
    noisy = difficulty + rng.normal(0, 0.03, len(labels))
    right = noisy < np.quantile(noisy, min(0.999, made.skill + rng.normal(0, 0.004)))
    predictions = np.where(right, labels, 1 - labels)
    seconds = made.seconds * rng.uniform(0.97, 1.03)
    probabilities = _probabilities(labels, predictions, rng)
    trained = made.params > 0
    validation = np.arange(N_VALIDATION) % 2
    said = np.where(rng.uniform(size=N_VALIDATION) < made.skill, validation, 1 - validation)
    return RunRecord(
        **_shared(made, seed), status="ok", warnings=list(made.warnings), grouped=made.grouped,  # type: ignore[arg-type]
        plan={"words": ["Blocks 1 to 11 are frozen: computed once, then read from memory."] if trained else []},
        trainable_params=made.params, total_params=124_441_346, trainable_percent=100 * made.params / 124_441_346,
        classifier_bytes=4 * made.params + 900, train_accuracy=min(1.0, made.skill + 0.012),
        validation_accuracy=min(1.0, made.skill + 0.006), test_accuracy=float(right.mean()), test_loss=0.4 - 0.3 * made.skill,
        **prediction_metrics(labels.tolist(), predictions.tolist(), 2),
        **probability_metrics(labels.tolist(), np.array(probabilities)), test_probabilities=probabilities,
        validation_probabilities=_probabilities(validation, said, rng),
        flops_per_step=int(1e9 + 4 * made.params) if trained else None,
        latency_ms=20.0 + made.seconds if trained else None, latency_batch_ms=900.0 if trained else None,
        merged_latency_ms=20.0 if made.family == "low-rank" else None,
        language_loss_before=3.5 if trained else None, language_loss_after=3.5 + rng.uniform() if trained else None,
        epochs=EPOCHS if trained else None, steps=EPOCHS * STEPS_PER_EPOCH if trained else None,
        examples_seen=EPOCHS * STEPS_PER_EPOCH * BATCH_SIZE if trained else None, setup_seconds=0.4,
        prefix_seconds=1.2 if made.label in ("head", "last_block") else None, train_seconds=seconds, eval_seconds=2.5,
        total_seconds=seconds + 4.1, examples_per_second=5200 / seconds, peak_memory_bytes=int(6e8 + 12 * made.params),
    )  # fmt: skip


def _probabilities(
    labels: np.ndarray, predictions: np.ndarray, rng: np.random.Generator
) -> list[list[float]]:
    """Of both classes, (N,2): what is right is said more surely than what is wrong."""
    sure = 0.5 + np.where(predictions == labels, 0.5, 0.3) * rng.beta(4, 1, len(labels))
    return recorded(np.where(predictions[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None]))


def _history(made: Made, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng([seed, 1, *made.label.encode()])
    rows: list[tuple[float | None, ...]] = []
    floor = 1.05 - made.skill
    for step in range(0, EPOCHS * STEPS_PER_EPOCH, 50):
        loss = floor + (2.2 - floor) * np.exp(-step / 90)
        rows.append((step, (step + 1) / STEPS_PER_EPOCH, (step + 1) * BATCH_SIZE, loss * rng.uniform(0.8, 1.1),
                     loss * rng.uniform(0.95, 1.2), None, None))  # fmt: skip
    for epoch in range(1, EPOCHS + 1):
        accuracy = made.skill - 0.35 * np.exp(-1.3 * epoch)
        rows.append((epoch * STEPS_PER_EPOCH - 1, float(epoch), epoch * STEPS_PER_EPOCH * BATCH_SIZE, None, None,
                     min(1.0, accuracy + rng.uniform(-0.02, 0.03)), min(1.0, accuracy + rng.uniform(-0.03, 0.02))))  # fmt: skip
    names = [
        "step",
        "epoch",
        "examples_seen",
        "train_loss",
        "validation_loss",
        "train_accuracy",
        "validation_accuracy",
    ]
    return pd.DataFrame(rows, columns=names).sort_values("step", ignore_index=True)
