"""Makes the picture that README.md opens with: the page of the reference result, in a real browser.

    python -m tests.picture

The page is made from results/reference/results.json; the picture carries that file's hash, and a test compares them.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from headtohead.core.files import write_bytes_atomic, write_text_atomic
from headtohead.experiments.agenda import plan
from headtohead.experiments.description import description_of
from headtohead.experiments.folder import EXPERIMENT_FILE, load_experiment
from headtohead.experiments.record import RECORD_FILE, run_directory, to_json
from headtohead.experiments.report import write_report
from headtohead.experiments.spec import Experiment
from headtohead.experiments.statistics import summarise
from tests.browser import chromium
from tests.paths import ROOT

REFERENCE = ROOT / "results" / "reference"
PICTURE = REFERENCE / "report.png"
HASH = "results.json sha256"
WIDTH, HEIGHT = 1280, 900


def results_hash() -> str:
    """Of the records that the picture shows."""
    return hashlib.sha256((REFERENCE / "results.json").read_bytes()).hexdigest()


def reference_page(directory: Path) -> Path:
    """Write the reference result's report into ``directory``, from its records and the demo's data."""
    records: list[dict[str, Any]] = json.loads((REFERENCE / "results.json").read_text(encoding="utf-8"))
    labels = ",".join(dict.fromkeys(record["label"] for record in records))
    asked = {
        "strategies": labels,
        "model": "demo",
        "data": "demo",
        "seeds": ",".join(map(str, _seeds(records))),
    }
    agenda = plan(Experiment.of({**asked, "name": "reference"}, command="python run_all.py"))
    about = description_of(agenda) | {
        "created_at": max(record["created_at"] for record in records),
        "run_ids": [record["run_id"] for record in records],
        "runs": {each["run_id"]: {"label": each["label"], "seed": each["seed"]} for each in records},
    }
    for name, content in agenda.inputs.dataset.csv.items():
        write_bytes_atomic(directory / "data" / f"{name}.csv", content)
    write_text_atomic(directory / EXPERIMENT_FILE, to_json(about))
    for record in records:
        write_text_atomic(run_directory(directory, record["run_id"]) / RECORD_FILE, to_json(record))
    return write_report(summarise(load_experiment(directory)))["report.html"]


def _seeds(records: list[dict[str, Any]]) -> list[int]:
    return sorted({record["seed"] for record in records})


def main() -> int:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(reference_page(Path(folder) / "reference").as_uri())
        top = page.locator("#comparison").bounding_box()["y"] - 16
        plots = page.locator(".plots").first.bounding_box()
        clip = {"x": 0, "y": top, "width": WIDTH, "height": plots["y"] + plots["height"] + 16 - top}
        shot = Path(folder) / "shot.png"
        page.screenshot(path=shot, full_page=True, clip=clip)
        picture = Image.open(shot).convert("RGB").quantize(256, dither=Image.Dither.NONE)
        notes = PngImagePlugin.PngInfo()
        notes.add_text(HASH, results_hash())
        picture.save(PICTURE, optimize=True, pnginfo=notes)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
