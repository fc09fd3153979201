"""The picture that README.md opens with is of the reference result, as the page shows it today."""

import csv
from pathlib import Path

import pytest
from PIL import Image

from tests.browser import Watched, chromium
from tests.paths import ROOT
from tests.picture import HASH, PICTURE, REFERENCE, WIDTH, reference_page, results_hash


def test_the_readme_opens_with_a_picture_of_the_reference_result() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8").split("## Quick start")[0]
    assert opening.index("results/reference/report.png") < opening.index("| strategy |")
    assert "DEMO" in opening
    with Image.open(PICTURE) as picture:
        said = picture.info.get(HASH)
        assert picture.width == WIDTH and picture.height > 800
    assert said == results_hash(), (
        "the reference result has changed: make its picture with python -m tests.picture"
    )


@pytest.mark.slow
def test_the_page_in_the_picture_says_what_the_reference_result_says(tmp_path: Path) -> None:
    with chromium() as browser:
        watched = Watched(browser, viewport={"width": WIDTH, "height": 900})
        watched.page.goto(reference_page(tmp_path / "reference").as_uri())
        shown = watched.page.locator("table.comparison tbody.line tr")
        with (REFERENCE / "summary.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert shown.count() == len(rows)
        for row in rows:
            line = watched.page.locator(f"tbody[data-label='{row['label']}'] td").all_inner_texts()
            accuracy, deviation = 100 * float(row["test_accuracy"]), 100 * float(row["test_accuracy_sd"])
            low, high = 100 * float(row["test_accuracy_low"]), 100 * float(row["test_accuracy_high"])
            assert line[0].startswith(f"{accuracy:.1f}") and f"± {deviation:.1f} (5)" in line[0]
            assert line[1] == f"{low:.1f}–{high:.1f}"
            assert line[2] == f"{int(row['trainable_params']):,}"
        assert watched.complaints == []
