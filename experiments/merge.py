"""Several folders of runs as one experiment: what ``--merge DIR ...`` does with the results of shards.

Run folders are copied whole, each under its own id, so merging twice, or merging a folder that was merged before,
changes nothing. A run that ended well is never replaced; one that failed is, by one that did not.
"""

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headtohead.core.errors import InputError
from headtohead.core.files import atomic_directory, file_errors, write_bytes_atomic, write_text_atomic
from headtohead.experiments.folder import EXPERIMENT_FILE, read_description
from headtohead.experiments.record import RECORD_FILE, load_record, run_directory, to_json

_SHARD = re.compile(r" --shard[ =]\S+")


def check_folders(sources: Sequence[Path]) -> list[dict[str, Any]]:
    """The descriptions of the experiments in some folders, which must be on one model and one data set.

    Raises:
        InputError: a folder holds no experiment, or one on another model or other data.
    """
    found = []
    for source in sources:
        if not (source / EXPERIMENT_FILE).is_file():
            raise InputError(
                f"--merge {source}: holds no experiment; name folders with an {EXPERIMENT_FILE}, as in results/NAME"
            )
        found.append(read_description(source))
    for source, description in zip(sources, found, strict=True):
        for part in ("model", "dataset"):
            ours, theirs = found[0][part], description[part]
            if ours["sha256"] != theirs["sha256"]:
                raise InputError(
                    f"--merge: {source} holds runs on the {part} {theirs['name']!r}, {sources[0]} on "
                    f"{ours['name']!r} with other contents; merge folders of one model and one data set"
                )
    return found


def merge_into(target: Path, sources: Sequence[Path]) -> int:
    """Copy what the target lacks out of other experiments' folders; returns how many runs were copied.

    Args:
        target: an experiment's folder or one that does not exist; the caller holds its lock.
        sources: experiments' folders; the target may be among them.
    """
    others = [source for source in sources if source.resolve() != target.resolve()]
    folders = [target, *others] if (target / EXPERIMENT_FILE).is_file() else others
    descriptions = check_folders(folders)
    copied = 0
    with file_errors(f"merging into {target}", "free some space, or choose another --results-dir"):
        for source in others:
            for path in sorted(source.glob(f"runs/*/{RECORD_FILE}")):
                copied += _copy(path.parent, run_directory(target, path.parent.name))
            for path in sorted(
                (source / "data").rglob("*.csv")
            ):  # those of other splits lie in folders of theirs
                place = target / path.relative_to(source)
                if not place.exists():
                    write_bytes_atomic(place, path.read_bytes())
        write_text_atomic(target / EXPERIMENT_FILE, to_json(_joined(descriptions, target.name)))
    return copied


def _copy(source: Path, place: Path) -> bool:
    """Copy a run's folder unless there is one that is as good; whether it was copied."""
    if (place / RECORD_FILE).is_file() and (load_record(place).ok or not load_record(source).ok):
        return False
    load_record(source)  # a damaged one is refused before anything is written
    with atomic_directory(place) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
    return True


def _joined(descriptions: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """One description of all: the first one's, with the runs that any of them asked for."""
    first = descriptions[0]
    strategies = {each["label"]: each for about in reversed(descriptions) for each in about["strategies"]}
    labels = dict.fromkeys(each["label"] for about in descriptions for each in about["strategies"])
    return {
        **first,
        "name": name,
        "command": _SHARD.sub("", first["command"]),
        "strategies": [strategies[label] for label in labels],
        "seeds": sorted({seed for about in descriptions for seed in about["seeds"]}),
        "run_ids": list(dict.fromkeys(run_id for about in descriptions for run_id in about["run_ids"])),
        "runs": {run_id: asked for about in descriptions for run_id, asked in about.get("runs", {}).items()},
    }
