"""Files that something has damaged: each loads to what it was, or is refused in one sentence, and soon.

What carries a checksum (checkpoints, classifiers, zips) must load to the same content; tables and records cannot
know that a letter was changed, so for them it is enough that nothing else than an InputError comes out.
"""

import io
import json
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest

from headtohead.core import sources
from headtohead.core.classifier import load_classifier
from headtohead.core.config import GPTConfig
from headtohead.core.data import load_dataset
from headtohead.core.engine import Engine
from headtohead.core.errors import InputError
from headtohead.core.training import TrainConfig
from headtohead.core.weights import find_pretrained
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.record import load_history
from headtohead.strategies import build_variants
from tests import small
from tests.checkpoints import write_checkpoint
from tests.experiments.synthetic import FOUR, write_synthetic
from tests.mutations import mutated

SECONDS = 20.0  # more than this for one file is a hang
ROWS = "".join(f"ham\tsee you at {n}, then\nspam\tWIN {n} pounds NOW\n" for n in range(30))


@dataclass(frozen=True)
class Subject:
    """A kind of files: how to write them into a folder, which of them to damage, how to load them."""

    write: Callable[[Path], object]
    files: tuple[str, ...]
    load: Callable[[Path], Any]
    checksummed: bool = True


def write_weights(folder: Path) -> None:
    write_checkpoint(folder, GPTConfig(emb_dim=8, n_layers=1, n_heads=2, context_length=16))


def load_weights(folder: Path) -> object:
    shutil.rmtree(folder.parent / "cache", ignore_errors=True)
    found = find_pretrained(None, folder)
    found.build()
    # Nothing in a checkpoint tells how many heads its model has, but hparams.json.
    return found.sha256, replace(found.config, n_heads=1)


def write_tables(folder: Path) -> None:
    (folder / "SMSSpamCollection").write_text(ROWS)
    (folder / "a.tsv").write_text("Label\tText\n" + ROWS)
    quoted = "".join(
        f'{label},"{text}"\n' for label, text in (line.split("\t") for line in ROWS.splitlines())
    )
    (folder / "a.csv").write_text("label,text\n" + quoted)


def load_tables(folder: Path) -> None:
    for name in TABLES.files:
        load_dataset(str(folder / name), context_length=64, max_length=16)


def write_forms(folder: Path) -> None:
    rows = [line.split("\t") for line in ROWS.splitlines()]
    lines = [json.dumps({"label": label, "text": text}) for label, text in rows]
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    table = "label;text\n" + "".join(f'{label};"{text}"\n' for label, text in rows)
    (folder / "a.csv").write_bytes(table.encode("utf-8-sig"))
    (folder / "excel.csv").write_bytes(table.replace(";", "\t").encode("utf-16"))
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for number, (label, text) in enumerate(rows):
            member = tarfile.TarInfo(f"set/{label}/{number}.txt")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


def write_parquet(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [line.split("\t") for line in ROWS.splitlines()]
    pd.DataFrame(rows, columns=["label", "text"]).to_parquet(folder / "a.parquet")


def load_each(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        load_dataset(str(path), context_length=64, max_length=16)


def write_zips(folder: Path) -> None:
    for name, kind in (
        ("a.zip", zipfile.ZIP_DEFLATED),
        ("b.zip", zipfile.ZIP_STORED),
        ("c.zip", zipfile.ZIP_LZMA),
    ):
        with zipfile.ZipFile(folder / name, "w", kind) as archive:
            archive.writestr("readme", "x" * 200)
            archive.writestr("a.csv", ROWS)


def load_zips(folder: Path) -> object:
    return [sources.find(str(folder / name)).content for name in ZIPS.files]


def write_classifier(folder: Path) -> None:
    (variant,) = build_variants(["lora@r=2"])
    engine = Engine(find_pretrained("demo", None), small.dataset(), TrainConfig(epochs=1))
    engine.fit(variant, 123, folder / "classifier")


def load_classifier_answers(folder: Path) -> object:
    return load_classifier(folder).classify(["WIN a prize now", "see you at eight", ""])


def write_experiment(folder: Path) -> None:
    write_synthetic(folder, FOUR, (123, 124), n_test=40)


def load_records(folder: Path) -> None:
    for record in load_experiment(folder).records:
        load_history(folder / "runs" / record.run_id)


TABLES = Subject(write_tables, ("SMSSpamCollection", "a.tsv", "a.csv"), load_tables, checksummed=False)
ZIPS = Subject(write_zips, ("a.zip", "b.zip", "c.zip"), load_zips)
SUBJECTS = {
    "forms": Subject(
        write_forms, ("a.jsonl", "a.csv", "excel.csv", "a.tar.gz"), load_each, checksummed=False
    ),
    "parquet": Subject(write_parquet, ("a.parquet",), load_each, checksummed=False),
    "hparams": Subject(write_weights, ("hparams.json",), load_weights),
    "checkpoint": Subject(
        write_weights, ("model.ckpt.index", "model.ckpt.data-00000-of-00001"), load_weights
    ),
    "tables": TABLES,
    "zips": ZIPS,
    "classifier": Subject(
        write_classifier,
        ("classifier/classifier.json", "classifier/classifier.safetensors"),
        load_classifier_answers,
    ),
    "records": Subject(
        write_experiment,
        ("experiment.json", "runs/head-s123/record.json", "runs/lora-s124/history.csv"),
        load_records,
        checksummed=False,
    ),
}


@pytest.mark.parametrize("count", [17, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SUBJECTS)
def test_damaged_files_load_as_they_were_or_are_refused(
    name: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "cache"))
    small.use_tiny_demo(monkeypatch)
    subject, folder, random = SUBJECTS[name], tmp_path / "files", Random(f"{name} {count}")
    folder.mkdir()
    subject.write(folder)
    expected = subject.load(folder)
    refused = 0
    for _ in range(count):
        path = folder / random.choice(subject.files)
        intact = path.read_bytes()
        path.write_bytes(mutated(intact, random))
        started = time.monotonic()
        try:
            found = subject.load(folder)
            assert found == expected or not subject.checksummed, path
        except InputError as error:
            refused += 1
            assert str(error).isprintable()
        assert time.monotonic() - started < SECONDS
        path.write_bytes(intact)
    assert refused > count / 10  # the damage is real
    assert subject.load(folder) == expected
