"""The messages on which an exported classifier is compared with its original."""

from pathlib import Path

from headtohead.core.data import read_split_csv
from headtohead.core.sources import DEMO_FILE

COUNT = 20


def messages_of(run: Path) -> list[str]:
    """The first messages of the run's test split, filled up with those of the demo corpus.

    Args:
        run: a run's folder, whose experiment keeps its data two folders above; a classifier that was copied
            elsewhere has none.
    """
    path = run.absolute().parent.parent / "data" / "test.csv"
    texts = [row.text for row in read_split_csv(path.read_bytes(), str(path))] if path.is_file() else []
    lines = DEMO_FILE.read_text(encoding="utf-8").splitlines()
    texts += [line.partition("\t")[2] for line in lines]
    return [text for text in texts if text.strip()][:COUNT]
