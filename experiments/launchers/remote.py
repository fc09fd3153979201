"""What a worker of a cluster does: one engine per process, groups of runs with it, folders as bytes out.

Nothing is read but what came with the work and the node's own cache; run folders are made in a temporary folder.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headtohead.core.engine import Engine

Plain = dict[str, Any]
_engines: dict[str, "Engine"] = {}  # of this process, by the parcel's key; one at a time


def set_threads(cpus: int) -> None:
    """Let torch use that many threads; called before it is imported wherever that is possible."""
    os.environ["OMP_NUM_THREADS"] = str(cpus)
    import torch

    if torch.get_num_threads() != cpus:
        torch.set_num_threads(cpus)


def prefix_part(job: Plain, get: Callable[[Any], Any], where: str) -> Plain:
    """Hidden states of some chunks of sequences: per cut its rows, and how many sequences were passed."""
    import torch

    engine = _engine(job, get, where)
    before = engine.prefix.passed
    chunks = [torch.from_numpy(chunk.copy()) for chunk in job["chunks"]]
    part = engine.prefix.part(job["cuts"], chunks, engine.pretrained.build())
    return {
        "hidden": {cut: rows.numpy() for cut, rows in part.items()},
        "passed": engine.prefix.passed - before,
    }


def do_group(job: Plain, get: Callable[[Any], Any], where: str) -> Iterator[Plain]:
    """Do a group of runs; yields every run's folder as it is finished, then what the group has cost.

    Args:
        job: the group, as the launcher describes it.
        get: gives what a reference in ``job`` stands for.
        where: this node's name, for records and errors.
    """
    yield {"began": where, "pid": os.getpid()}
    engine = _engine(job, get, where)

    from headtohead.core.engine import fit_group
    from headtohead.core.engine.options import Job
    from headtohead.experiments.environment import describe_environment
    from headtohead.experiments.launchers.parcel import pack_folder, unpack_run
    from headtohead.experiments.runs import write_folder

    before = engine.prefix.passed
    environment = describe_environment(engine.options.device) | {"node": where}
    retries = {about["run_id"]: about["retries"] for about in job["runs"]}
    runs = [unpack_run(about) for about in job["runs"]]
    with tempfile.TemporaryDirectory(prefix="headtohead-run-") as name:
        scratch = Path(name)
        jobs = {
            Job(run.variant, run.seed, scratch / f"{run.run_id}.classifier", run.part): run for run in runs
        }
        for each, outcome in fit_group(engine, list(jobs), lambda progress: None):
            run = jobs[each]
            facts = job["facts"] | {"environment": environment, "retries": retries[run.run_id]}
            folder = scratch / run.run_id
            write_folder(folder, run, outcome, each.directory, facts)
            yield {"run_id": run.run_id, "files": pack_folder(folder)}
            shutil.rmtree(folder)
    yield {"passed": engine.prefix.passed - before}


def _engine(job: Plain, get: Callable[[Any], Any], where: str) -> "Engine":
    """This process's engine for a parcel, with the hidden states that the job brings."""
    if job["key"] not in _engines:
        set_threads(job["cpus"])
        from headtohead.experiments.launchers.parcel import Weights, check_same_code, unpack_engine

        parcel = get(job["parcel"])
        check_same_code(parcel, where)
        _engines.clear()
        _engines[job["key"]] = unpack_engine(parcel, Weights(lambda: get(job["weights"])))
    engine = _engines[job["key"]]
    _adopt(engine, job.get("prefix", {}), get)
    return engine


def _adopt(engine: "Engine", prefix: Mapping[int, Plain], get: Callable[[Any], Any]) -> None:
    from headtohead.experiments.launchers.parcel import as_tensor

    for cut, about in prefix.items():
        if not engine.prefix.knows(cut):
            engine.prefix.adopt(cut, as_tensor(get(about["hidden"])), about["seconds"], about["words"])
