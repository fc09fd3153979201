"""Runs for TensorBoard and MLflow, from their records: named as ours, with what the records and histories say.

    python run_all.py --tensorboard --mlflow ...
    tensorboard --logdir results/NAME/tensorboard

Both are extras: ``pip install 'headtohead[tensorboard]'``, ``pip install 'headtohead[mlflow]'``. MLflow logs where
``MLFLOW_TRACKING_URI`` says, otherwise into ``results/mlflow.db``, which ``mlflow ui --backend-store-uri
sqlite:///results/mlflow.db`` shows.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headtohead.core.errors import InputError
from headtohead.experiments.record import RunRecord, load_history, run_directory
from headtohead.experiments.watch import Watcher

if TYPE_CHECKING:
    from headtohead.experiments.spec.output import OutputSettings
    from headtohead.experiments.statistics import Summary

FINAL = (
    "train_accuracy", "validation_accuracy", "test_accuracy", "test_loss", "test_precision", "test_recall", "test_f1",
    "trainable_params", "classifier_bytes", "train_seconds", "total_seconds", "peak_memory_bytes",
)  # fmt: skip


def trackers(settings: "OutputSettings", directory: Path) -> list[Watcher]:
    """Those that the settings ask for.

    Raises:
        InputError: one whose package is not installed.
    """
    found: list[Watcher] = []
    if settings.tensorboard:
        found.append(TensorBoard(directory))
    if settings.mlflow:
        found.append(MLflow(directory))
    return found


def check_trackers(settings: "OutputSettings") -> None:
    """InputError for one whose package is not installed; imports nothing heavy."""
    from importlib.util import find_spec

    for name in ("tensorboard", "mlflow"):
        if getattr(settings, name) and find_spec(name) is None:
            raise InputError(
                f"--{name} needs the package {name}, which is not installed; run `pip install 'headtohead[{name}]'`, "
                f"or in a checkout `pip install -e '.[{name}]'`"
            )


def _series(directory: Path, record: RunRecord) -> Iterator[tuple[str, int, float]]:
    """(name, step, value) of everything that was measured while training: ("loss/train", 50, 0.61)."""
    history = load_history(run_directory(directory, record.run_id))
    if history is None:
        return
    for measure in ("loss", "accuracy"):
        for split in ("train", "validation"):
            known = history[["step", f"{split}_{measure}"]].dropna()
            yield from (
                (f"{measure}/{split}", int(step), float(value))
                for step, value in known.itertuples(index=False)
            )


def _final(record: RunRecord) -> dict[str, float]:
    values = {name: getattr(record, name) for name in FINAL}
    return {name: float(value) for name, value in values.items() if value is not None}


class _Tracker(Watcher):
    """Logs every run once: each when it ends, and at the end those that were finished before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def finished(self, record: RunRecord) -> None:
        self.log(record)

    def reported(self, summary: "Summary", paths: Mapping[str, Path], seconds: float | None) -> None:
        for record in summary.experiment.records:
            if not self.has(record):
                self.log(record)

    def has(self, record: RunRecord) -> bool:
        """Whether this very run was logged before."""
        raise NotImplementedError

    def log(self, record: RunRecord) -> None:
        """Write what the record and its history say."""
        raise NotImplementedError


class TensorBoard(_Tracker):
    """Event files in ``tensorboard/<run id>`` of the experiment's folder."""

    def _folder(self, record: RunRecord) -> Path:
        return self.directory / "tensorboard" / record.run_id

    def has(self, record: RunRecord) -> bool:
        return self._folder(record).is_dir()

    def log(self, record: RunRecord) -> None:
        import shutil

        from torch.utils.tensorboard.writer import SummaryWriter

        shutil.rmtree(self._folder(record), ignore_errors=True)  # of the run before, where it was done again
        with SummaryWriter(str(self._folder(record))) as writer:
            for name, step, value in _series(self.directory, record):
                writer.add_scalar(name, value, step)
            for name, value in _final(record).items():
                writer.add_scalar(f"final/{name}", value, record.steps or 0)
            about = [f"{record.label}, seed {record.seed}: {record.status}", record.error or ""]
            writer.add_text("run", "\n\n".join(about))


class MLflow(_Tracker):
    """Runs named by their run id in the MLflow experiment of our experiment's name."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        place = (directory.parent / "mlflow.db").resolve()
        uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{place}"
        self.client = MlflowClient(uri, registry_uri=uri)
        found = self.client.get_experiment_by_name(directory.name)
        self.experiment: str = found.experiment_id if found else self.client.create_experiment(directory.name)

    def has(self, record: RunRecord) -> bool:
        wanted = f"tags.made = '{record.created_at}' and tags.mlflow.runName = '{record.run_id}'"
        return bool(self.client.search_runs([self.experiment], wanted, max_results=1))

    def log(self, record: RunRecord) -> None:
        import time

        from mlflow.entities import Metric, Param

        tags: dict[str, Any] = {
            "made": record.created_at, "label": record.label, "family": record.family, "model": record.model,
            "dataset": record.dataset, "git_commit": record.git_commit, "error": (record.error or "")[:4000],
        }  # fmt: skip
        run = self.client.create_run(
            self.experiment,
            run_name=record.run_id,
            tags={key: str(value) for key, value in tags.items() if value},
        )
        now = int(1000 * time.time())
        params = {
            **record.train_config,
            **record.hyperparameters,
            "seed": record.seed,
            "strategy": record.strategy,
        }
        metrics = [Metric(name, value, now, record.steps or 0) for name, value in _final(record).items()]
        metrics += [Metric(name, value, now, step) for name, step, value in _series(self.directory, record)]
        for start in range(0, max(len(metrics), 1), 1000):
            named = [Param(key, str(value)[:6000]) for key, value in params.items()] if start == 0 else []
            self.client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000], params=named)
        self.client.set_terminated(run.info.run_id, "FINISHED" if record.ok else "FAILED")
