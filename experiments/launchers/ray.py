"""Runs on a cluster, through Ray Core: https://docs.ray.io/en/latest/ray-core/walkthrough.html.

This process plans, hands out groups of runs, and alone writes results. Everything that a worker needs travels through
Ray's object store, once per node: the weights, which the node keeps as one file that its workers map; the messages;
and the hidden states of the frozen blocks, which the workers have computed together, each for some of the messages.
Whole run folders come back. A worker or a node that dies costs the runs it had begun, and these begin again.
"""

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from headtohead.core.classifier import name_plugin, size_on_disk
from headtohead.core.engine import Engine, EngineOptions, Job, groups
from headtohead.core.engine.seeds import Way, way_of
from headtohead.core.errors import InputError, TrainingError, printable
from headtohead.experiments.launchers import remote
from headtohead.experiments.launchers.parcel import (
    as_tensor,
    pack_engine,
    pack_run,
    pack_weights,
    unpack_folder,
)
from headtohead.experiments.record import load_record, save_record
from headtohead.experiments.runs import Run, write_folder
from headtohead.experiments.spec.machine import LaunchSettings
from headtohead.experiments.watch import Watcher

RETRIES = 3  # of a run whose worker or node dies
PARTS_PER_SLOT = 3  # of the frozen prefix: a node that is slower or busy gets fewer of them
WAIT_SECONDS = 1.0  # between two looks at whether the cluster still has room


@dataclass
class RayLauncher:
    """Groups of runs as Ray tasks.

    Attributes:
        engine: of this process; it plans and joins what the workers computed.
        options: of the workers' engines.
        scratch: where run folders are made before they have their place.
        facts: what every record says of the experiment.
        passed: sequences that workers have passed through the frozen stages.
    """

    engine: Engine
    options: EngineOptions
    scratch: Path
    facts: dict[str, Any]
    settings: LaunchSettings
    passed: int = 0
    _key: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def cpus(self) -> int:
        """Cores of one run."""
        return self.settings.cpus_per_run or 1

    @property
    def gpus(self) -> float:
        """GPUs of one run."""
        if self.settings.gpus_per_run is not None:
            return self.settings.gpus_per_run
        return 1.0 if self.options.device == "cuda" else 0.0

    @property
    def retries(self) -> int:
        """How often a run begins again when its worker or node dies."""
        return RETRIES if self.settings.retries is None else self.settings.retries

    def groups(self, runs: Sequence[Run]) -> list[list[Run]]:
        """The engine's groups; those that would only share cores are divided, so that they can be anywhere."""
        jobs = {Job(run.variant, run.seed, Path(run.run_id), run.part): run for run in runs}
        found: list[list[Run]] = []
        for group in groups(self.engine, list(jobs)):
            members = [jobs[job] for job in group]
            engine = self.engine.of(members[0].part)
            shared = way_of(engine, members[0].variant) is Way.SIDE_BY_SIDE
            size = self.cpus if shared else len(members)
            found += [members[first : first + size] for first in range(0, len(members), size)]
        return found

    def launch(self, groups: Sequence[Sequence[Run]], watch: Watcher) -> Iterator[tuple[Run, Path]]:
        """As :class:`headtohead.experiments.launchers.Launcher`."""
        if not groups:
            return
        with _cluster(self.settings.address) as ray:
            check_room(_nodes(ray), self.cpus, self.gpus)
            work = self._shared(ray)
            if cuts := self.engine.cuts(run.variant for group in groups for run in group):
                work["prefix"] = self._share_prefix(ray, work, cuts, watch)
            flight = _Flight(self, ray, work, watch)
            yield from flight.fly(groups)

    # --- what all workers need ---------------------------------------------------------------------------------

    def _shared(self, ray: Any) -> dict[str, Any]:
        """References to what every task needs; a worker asks for what its node does not have."""
        return {
            "key": self._key,
            "cpus": self.cpus,
            "parcel": ray.put(pack_engine(self.engine, self.options)),
            "weights": ray.put(pack_weights(self.engine.pretrained)),
        }

    def _share_prefix(
        self, ray: Any, work: Mapping[str, Any], cuts: Sequence[int], watch: Watcher
    ) -> dict[int, dict[str, Any]]:
        """The frozen prefix at all cuts, computed by the workers where it is not in the cache folder."""
        prefix = self.engine.prefix
        prefix.elsewhere = lambda wanted, chunks, on_progress: self._fill(
            ray, work, wanted, chunks, on_progress
        )
        shared = {}
        for cut in cuts:
            if prefix.why_not(cut) is None:
                stored = self.engine.hidden_states(cut, watch.step)
                reference = ray.put(stored.hidden.numpy())
                words = f"{stored.hidden.nbytes / 1e6:,.1f} MB, computed once for the cluster"
                shared[cut] = {"hidden": reference, "seconds": stored.seconds, "words": words}
        return shared

    def _fill(
        self,
        ray: Any,
        work: Mapping[str, Any],
        wanted: dict[int, Tensor],
        chunks: list[Tensor],
        on_progress: Callable[[int, int], None],
    ) -> None:
        """As :data:`headtohead.core.engine.prefix.Fill`: every worker passes some chunks of all lengths."""
        parts = min(len(chunks), PARTS_PER_SLOT * slots(_nodes(ray), self.cpus, self.gpus))
        task = ray.remote(_prefix_part).options(**self._needs(), max_retries=self.retries)
        waiting = {}
        for number in range(parts):
            own = chunks[number::parts]
            job = {**work, "cuts": list(wanted), "chunks": [chunk.numpy() for chunk in own]}
            waiting[task.remote(job)] = own
        done, total = 0, sum(map(len, chunks))
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            own = waiting.pop(ready)
            with _sentences(ray):
                part = ray.get(ready)
            for cut, hidden in part["hidden"].items():
                wanted[cut][self.engine.prefix.rows_of(cut, own)] = as_tensor(hidden)
            self.passed += part["passed"]
            done += sum(map(len, own))
            on_progress(done, total)

    def _needs(self) -> dict[str, Any]:
        # Without SPREAD a node may stay idle: Ray fills the first one up.
        return {"num_cpus": self.cpus, "num_gpus": self.gpus, "scheduling_strategy": "SPREAD"}

    # --- runs ----------------------------------------------------------------------------------------------------

    def start(self, ray: Any, work: Mapping[str, Any], runs: Mapping[str, "Attempt"]) -> Any:
        """Hand out a group of runs; gives the stream of what the worker says."""
        job = {
            **work,
            "facts": {name: value for name, value in self.facts.items() if name != "environment"},
            "runs": [pack_run(each.run, each.retries) for each in runs.values()],
        }
        task = ray.remote(_do_group).options(**self._needs(), max_retries=0, num_returns="streaming")
        return task.remote(job)

    def write(self, run: Run, files: Mapping[str, Any]) -> Path:
        """A run's folder as a worker has sent it."""
        folder = self.scratch / run.run_id
        unpack_folder(files, folder)
        if run.variant.plugin is not None and (folder / "classifier").is_dir():
            name_plugin(folder / "classifier", run.variant.plugin)
            record = replace(load_record(folder), classifier_bytes=size_on_disk(folder / "classifier"))
            save_record(folder, record)
        return folder

    def write_failed(self, attempt: "Attempt", error: Exception) -> Path:
        """The folder of a run that no worker could end."""
        folder = self.scratch / attempt.run.run_id
        facts = self.facts | {"retries": attempt.retries}
        write_folder(folder, attempt.run, error, folder / "none", facts)
        return folder


@dataclass(frozen=True)
class Attempt:
    """A run that is being done; ``retries``: how often it was begun in vain."""

    run: Run
    retries: int = 0


class _Flight:
    """Groups of runs on their way: begun, streaming back, begun again where a worker died."""

    def __init__(self, launcher: RayLauncher, ray: Any, work: Mapping[str, Any], watch: Watcher) -> None:
        self.launcher, self.ray, self.work, self.watch = launcher, ray, work, watch
        self.waiting: list[dict[str, Attempt]] = []
        self.open: dict[Any, dict[str, Attempt]] = {}  # stream -> runs that have not come back

    def fly(self, groups: Sequence[Sequence[Run]]) -> Iterator[tuple[Run, Path]]:
        """Do all groups."""
        self.waiting = [{run.run_id: Attempt(run) for run in group} for group in groups]
        at_once = self.launcher.settings.max_concurrent or len(self.waiting)
        try:
            while self.waiting or self.open:
                while self.waiting and len(self.open) < at_once:
                    runs = self.waiting.pop(0)
                    self.open[self.launcher.start(self.ray, self.work, runs)] = runs
                ready, _ = self.ray.wait(list(self.open), num_returns=1, timeout=WAIT_SECONDS)
                for stream in ready:
                    yield from self._next(stream)
                if not ready:
                    check_room(_nodes(self.ray), self.launcher.cpus, self.launcher.gpus)
        finally:
            for stream in self.open:
                self.ray.cancel(stream, force=True)

    def _next(self, stream: Any) -> Iterator[tuple[Run, Path]]:
        """What a stream has to say next."""
        left = self.open[stream]
        try:
            said = self.ray.get(next(stream))
        except StopIteration:
            self._ended(stream)
        except self.ray.exceptions.RayTaskError as error:
            del self.open[stream]
            yield from self._failed(left, error.cause if isinstance(error.cause, Exception) else error)
        except self.ray.exceptions.RayError as error:
            del self.open[stream]
            yield from self._died(left, error)
        else:
            if "began" in said:
                self.watch.placed([each.run.title for each in left.values()], said["began"])
            elif "passed" in said:
                self.launcher.passed += said["passed"]
            else:
                run = left.pop(said["run_id"]).run
                yield run, self.launcher.write(run, said["files"])

    def _ended(self, stream: Any) -> None:
        left = self.open.pop(stream)
        assert not left, "a worker left runs out"

    def _failed(self, left: Mapping[str, Attempt], error: Exception) -> Iterator[tuple[Run, Path]]:
        """The group could not even begin: its own code raised, which it would do again."""
        if isinstance(error, InputError):
            raise error
        for attempt in left.values():
            yield attempt.run, self.launcher.write_failed(attempt, error)

    def _died(self, left: Mapping[str, Attempt], error: Exception) -> Iterator[tuple[Run, Path]]:
        """The worker or its node is gone; what had not come back begins again, up to the number of retries."""
        allowed = self.launcher.retries
        again = {}
        for run_id, attempt in left.items():
            if attempt.retries < allowed:
                again[run_id] = replace(attempt, retries=attempt.retries + 1)
            else:
                times = f"{attempt.retries + 1} time{'s' if attempt.retries else ''}"
                lost = TrainingError(f"its worker or node died {times}, the last time: {first_words(error)}")
                yield attempt.run, self.launcher.write_failed(attempt, lost)
        if again:
            self.watch.lost([each.run.title for each in again.values()], first_words(error))
            self.waiting.insert(0, again)


# --- the cluster -----------------------------------------------------------------------------------------------


def _do_group(job: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """On a worker."""
    import ray

    yield from remote.do_group(job, ray.get, _here())


def _prefix_part(job: dict[str, Any]) -> dict[str, Any]:
    """On a worker."""
    import ray

    return remote.prefix_part(job, ray.get, _here())


def _here() -> str:
    """This node's name: its host's, and the beginning of Ray's, since a host may carry several nodes."""
    import socket

    import ray

    return f"{socket.gethostname()} ({ray.get_runtime_context().get_node_id()[:6]})"


@contextmanager
def _cluster(address: str | None) -> "Iterator[Any]":
    """Ray, connected: to the cluster at the address, or to one that lives as long as the context."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    import ray

    words: dict[str, Any] = {"include_dashboard": False, "num_cpus": _cores()} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **words)
    except (ConnectionError, TimeoutError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        where = "on this machine" if address is None else f"at --address {address}"
        raise InputError(
            f"there is no Ray cluster {where} to be joined ({first_words(error)}); `ray start --head` starts one"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _sentences(ray: Any) -> Iterator[None]:
    """What a worker could not do, as this process would have said it."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except ray.exceptions.RayError as error:
        raise InputError(
            f"the cluster lost the frozen blocks that it was computing ({first_words(error)}); run the command again"
        ) from error


@dataclass(frozen=True)
class Node:
    """A living node and what it has in all."""

    name: str
    cpus: float
    gpus: float

    def room(self, cpus: int, gpus: float) -> int:
        """How many runs fit at once."""
        fits = self.cpus // cpus
        return int(min(fits, self.gpus // gpus) if gpus else fits)


def _nodes(ray: Any) -> list[Node]:
    return [
        Node(node["NodeManagerHostname"], node["Resources"].get("CPU", 0), node["Resources"].get("GPU", 0))
        for node in ray.nodes()
        if node["Alive"]
    ]


def slots(nodes: Sequence[Node], cpus: int, gpus: float) -> int:
    """How many runs fit into the cluster at once."""
    return sum(node.room(cpus, gpus) for node in nodes)


def check_room(nodes: Sequence[Node], cpus: int, gpus: float) -> None:
    """InputError where no node has what one run asks for: Ray would wait for it without a word."""
    if slots(nodes, cpus, gpus):
        return
    asked = [(f"--cpus-per-run {cpus}", "cores", max((node.cpus for node in nodes), default=0.0))]
    if gpus:
        asked.insert(0, (f"--gpus-per-run {gpus:g}", "GPUs", max((node.gpus for node in nodes), default=0.0)))
    words = ", ".join(f"{flag} (the largest node has {most:g} {what})" for flag, what, most in asked)
    raise InputError(
        f"none of the cluster's {len(nodes)} nodes has room for one run by {words}; ask for less, or start such a node"
    )


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def first_words(error: BaseException) -> str:
    """The first sentence of an error of Ray's, without the colours and advice in it."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m|\(raylet\)", "", str(error)).split())
    first = re.split(r"(?<=[a-z])\. ", text)[0][:200]
    return printable(first) or type(error).__name__
