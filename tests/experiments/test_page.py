"""The page in a real browser: what can be done with its tables and figures, and that it needs and asks for nothing."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from headtohead.experiments import page as page_files
from headtohead.experiments import report
from headtohead.experiments.figures import Chart, Line
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.plots import PLOT_FILES, Plot
from headtohead.experiments.report import write_report
from headtohead.experiments.sections import Section, Table, all_sections
from headtohead.experiments.statistics import summarise
from tests.browser import Watched, chromium, serious
from tests.experiments.synthetic import FOUR, Made, thirty, write_synthetic

HOSTILE = "</script><script>document.title='no'</script> `x` | =1+1 <img src=x onerror=alert(1)>"
MADE = (
    *FOUR,
    Made("majority", "baselines", 0, 0.5),
    Made("dora", "low-rank", 300_000, 0.93),
    Made("=cmd|' /C calc'!A0", "prompts", 9_000, 0.9, warnings=(HOSTILE,)),
    Made("<i>`a`|$x$</i>", "prompts", 12_000, 0.91),
)
SPAM = "<b>spam</b>|`"
PANELS = Chart(
    "sensitivity", "How much it matters", "What it shows.", "learning rate", "validation accuracy (%)",
    (
        Line("head", (1e-5, 1e-4, 1e-3), (60.0, 70.5, 65.0), chosen=1e-4, default=1e-3, hollow=(0,)),
        Line("<b>`x`</b>", (0.0, 1e-4, 1e-3), (60.0, 80.0, 75.0)),
    ),
    log=True, apart=True,
)  # fmt: skip
FRAME = Chart(
    "train_sizes", "How many it takes", "What it shows.", "training messages", "test accuracy (%)",
    tuple(
        Line(f"s{n}", (16.0, 64.0, 1045.0), (60.0 + n, 70.0, 80.0), (59.0, 69.0, 79.0), (66.0, 71.0, 81.0))
        for n in range(9)
    ),
    log=True,
)  # fmt: skip
SECTION = Section(
    "rates",
    "Rates",
    (HOSTILE,),
    tuple(Plot(f"{each.name}.png", each.heading, each.caption, b"", chart=each) for each in (PANELS, FRAME)),
    tables=(Table(("strategy", "rate"), tuple((f"s{n}", f"{n}e-4") for n in range(12))),),
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every figure's data and small pictures in the places of matplotlib's."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), "#fff").save(picture, "png")
    plots = [Plot(name, "A heading", "What it shows.", picture.getvalue()) for name in PLOT_FILES]
    directory = write_synthetic(
        tmp_path_factory.mktemp("page") / "x", MADE, (1, 2, 3), failed={("lora", 2): HOSTILE}
    )
    about = json.loads((directory / "experiment.json").read_text())
    about["dataset"]["label_names"] = ["ham", SPAM]
    (directory / "experiment.json").write_text(json.dumps(about))
    messages = pd.read_csv(directory / "data" / "test.csv")
    messages["Text"] = HOSTILE + " " + messages["Text"]
    messages.to_csv(directory / "data" / "test.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "draw_all", lambda summary: plots)
        patch.setattr(report, "all_sections", lambda summary: [SECTION, *all_sections(summary)])
        write_report(summarise(load_experiment(directory)))
    return directory


@pytest.fixture(scope="module")
def opened(browser: Any, directory: Path) -> Watched:
    watched = Watched(browser, viewport={"width": 1280, "height": 900})
    watched.page.goto((directory / "report.html").as_uri())
    return watched


@pytest.fixture
def watched(opened: Watched) -> Watched:
    opened.page.reload()
    return opened


ROWS = "table.comparison tbody.line > tr:first-child > th"


def names(watched: Watched) -> list[str]:
    return [text.split("\n")[0] for text in watched.texts(ROWS)]


def test_nothing_is_asked_for_and_nothing_complains(watched: Watched, directory: Path) -> None:
    page = (directory / "report.html").as_uri()
    assert {url for url in watched.requests if not url.startswith("data:")} == {page}
    assert watched.complaints == []
    assert watched.page.title() != "no"
    page_markup = watched.page.evaluate(
        """[...document.querySelectorAll("script, img:not([src^='data:']), i, b, iframe, object")]
        .map((found) => found.outerHTML)"""
    )
    assert len(page_markup) == 2 and all(each.startswith("<script") for each in page_markup)  # ours
    assert SPAM in watched.page.locator(".confusions").first.inner_text()
    assert any(SPAM in heading for heading in watched.texts("table.comparison thead th"))
    watched.page.evaluate("fetch('https://example.org/').catch(() => {})")
    assert "Content Security Policy" in watched.complaints.pop()  # the policy is in force


def test_a_click_sorts_and_a_word_filters(watched: Watched) -> None:
    page = watched.page
    before = names(watched)
    page.get_by_role("button", name=re.compile("trained parameters")).click()
    assert names(watched)[:2] == ["majority", "head"]
    assert page.locator("table.comparison th[aria-sort=ascending]").count() == 1
    assert watched.texts("tbody.family") == []
    page.get_by_role("button", name=re.compile("trained parameters")).press("Enter")
    assert names(watched)[0] == "all_layers"
    lora = names(watched).index("lora")
    failed = page.locator("tbody.line").nth(lora).locator("tr.failed")
    assert HOSTILE in failed.inner_text()  # stays with its strategy
    page.get_by_role("button", name=re.compile("trained parameters")).click()
    assert names(watched) == before
    page.get_by_label("Find").first.fill("LORA")
    assert names(watched) == ["lora"]
    page.get_by_label("Find").first.fill("")
    page.get_by_label("Family").select_option("low-rank")
    assert names(watched) == ["lora", "dora"]
    assert watched.texts(".status")[0] == f"2 of {len(MADE)} rows"


def test_columns_are_chosen_and_what_is_shown_is_downloaded(watched: Watched) -> None:
    page = watched.page
    assert not any("recall" in heading for heading in watched.texts("table.comparison thead th"))
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label(re.compile("^recall")).check()
    page.get_by_label(re.compile("^learning rate")).uncheck()
    page.keyboard.press("Escape")
    headings = watched.texts("table.comparison thead th")
    assert any("recall" in heading for heading in headings)
    assert not any("learning" in heading for heading in headings)
    page.get_by_label("Find").first.fill("trains what")
    with page.expect_download() as found:
        page.get_by_role("button", name="CSV").first.click()
    rows = list(csv.DictReader(io.StringIO(Path(found.value.path()).read_text(encoding="utf-8"))))
    assert [row["label"] for row in rows] == [
        "'=cmd|' /C calc'!A0" if name.startswith("=") else name for name in names(watched)
    ]
    assert "test_recall" in rows[0] and "learning_rate" not in rows[0]
    records = json.loads((watched_directory(page) / "results.json").read_text())
    heads = [each["test_accuracy"] for each in records if each["label"] == "head"]
    assert float(rows[0]["test_accuracy"]) == pytest.approx(sum(heads) / 3)
    with page.expect_download() as found:
        page.get_by_role("button", name="JSON").first.click()
    assert [row["label"] for row in json.loads(Path(found.value.path()).read_text())] == names(watched)


def watched_directory(page: Any) -> Path:
    return Path(page.url.removeprefix("file://")).parent


def test_every_table_of_a_section_can_be_searched(watched: Watched) -> None:
    table = "table[data-name=rates]"
    watched.page.get_by_role("button", name="rate", exact=True).click()
    assert watched.texts(f"{table} td")[0] == "11e-4"
    tools = watched.page.locator(".tools", has=watched.page.get_by_label("Find")).nth(1)
    tools.get_by_label("Find").fill("s7")
    assert watched.texts(f"{table} td") == ["7e-4"]


def test_figures_answer_pointer_and_keyboard(watched: Watched) -> None:
    page = watched.page
    figures = page.locator("figure.drawn")
    assert figures.count() == len(PLOT_FILES) + 3  # and two of the section above, and the reliability
    assert page.locator("figure.drawn img:visible").count() == 0
    points = page.locator("#accuracy_vs_parameters svg [role=img]")
    assert points.count() == len(MADE)
    page.locator("#accuracy_vs_parameters svg [role=img][aria-label^=head] .mark").hover()
    assert watched.texts(".tip strong") == ["head"] and "1,538" in watched.texts(".tip")[0]
    points.first.focus()
    first = watched.texts(".tip strong")
    page.keyboard.press("ArrowRight")
    assert watched.texts(".tip strong") != first
    page.keyboard.press("Escape")
    assert watched.texts(".tip") == []
    panel = page.locator("#loss .panels > div").first
    panel.hover()
    assert "training" in watched.texts(".tip")[0] and " to " in watched.texts(".tip")[0]
    assert page.locator("#loss .band").count() == 2 * (len(MADE) - 1)  # majority has no curve


def test_what_sections_draw_answers_pointer_and_keyboard(watched: Watched) -> None:
    page = watched.page
    panels = page.locator("#sensitivity .panels > div")
    assert panels.count() == 2 and "<b>`x`</b>" in panels.nth(1).inner_text()
    assert panels.nth(1).locator("circle").count() == 2  # 0 has no place on a logarithmic axis
    panels.first.focus()
    page.keyboard.press("ArrowLeft")
    assert "learning rate: 1e-4" in (said := watched.texts(".tip")[0]) and "70.5" in said and "chosen" in said
    page.keyboard.press("ArrowLeft")
    assert "1e-5" in watched.texts(".tip")[0] and "first round" in watched.texts(".tip")[0]
    page.keyboard.press("ArrowDown")
    assert watched.texts(".tip strong") == ["<b>`x`</b>"]
    lines = page.locator("#train_sizes svg.lines > [role=img]")
    assert lines.count() == 9 and page.locator("#train_sizes .band").count() == 9
    lines.nth(8).locator("circle").first.hover()
    assert watched.texts(".tip strong") == ["s8"]
    assert "training messages: " in watched.texts(".tip")[0] and "(" in watched.texts(".tip")[0]
    lines.first.focus()
    assert "1,045" in watched.texts(".tip")[0] and "80 (79 to 81)" in watched.texts(".tip")[0]
    page.locator("#reliability .panels > div").first.hover()
    assert "probability of the named class (%)" in watched.texts(".tip")[0]


def test_disagreements_can_be_searched_beyond_those_shown(watched: Watched, directory: Path) -> None:
    page = watched.page
    table = page.locator("table[data-name=messages]").first
    every = table.locator("tbody tr").count()
    assert table.locator("tbody tr:visible").count() == 12 < every
    tools = page.locator(".tools", has=page.get_by_text(f"Show all {every}")).first
    assert f"{every - 12} more in report.html" in (directory / "report.md").read_text(encoding="utf-8")
    last = table.locator("tbody tr").last.locator("td").nth(1).text_content()
    tools.get_by_label("Find").fill(last[-12:])
    assert last in table.locator("tbody tr:visible td:nth-child(3)").all_text_contents()
    tools.get_by_label("Find").fill("")
    tools.get_by_role("button", name="Show all").click()
    assert table.locator("tbody tr:visible").count() == every


def test_on_paper_it_is_light_whole_and_without_controls(browser: Any, directory: Path) -> None:
    width, wide = 720, 960  # pixels of a letter page between its margins, upright and on its side
    watched = Watched(browser, viewport={"width": width, "height": 900}, color_scheme="dark")
    page = watched.page
    page.goto((directory / "report.html").as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('th')).color") in (
        "rgb(0, 0, 0)",
        "rgb(68, 68, 68)",
    )
    assert page.locator(".tools:visible, nav:visible, .tip:visible").count() == 0
    cut = page.evaluate(
        """([width, wide]) => [...document.querySelectorAll("table, figure svg, figure img, pre, p, li")].filter(
        (each) => each.getBoundingClientRect().right > (each.closest(".broad, .many") ? wide : width) + 1
        ).map((each) => each.outerHTML.slice(0, 200))""",
        [width, wide],
    )
    assert cut == []
    whole = """(selector) => [...document.querySelectorAll(selector)].every((each) =>
        getComputedStyle(each).breakInside === "avoid")"""
    assert page.evaluate(whole, "figure:not(.wide), .panels > div, tr")
    watched.context.close()


def test_any_two_columns_have_their_front(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("combobox", name="Across").select_option("train_seconds")
    page.get_by_role("combobox", name="Upward").select_option("test_f1")
    label = page.locator("#accuracy_vs_parameters svg[role=group]").get_attribute("aria-label")
    assert label.startswith(f"F1 of {SPAM} % by train time")
    said = page.locator("#accuracy_vs_parameters svg [role=img]").first.get_attribute("aria-label")
    assert "train time:" in said and "F1" in said
    assert page.locator("#accuracy_vs_parameters path.front").count() == 1
    page.get_by_role("combobox", name="Across").select_option("learning_rate")
    assert page.locator("#accuracy_vs_parameters path.front").count() == 0


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 400)])
def test_it_is_accessible_and_fits(browser: Any, directory: Path, scheme: str, width: int) -> None:
    watched = Watched(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    watched.page.goto((directory / "report.html").as_uri())
    assert serious(watched.page) == []
    assert watched.page.evaluate("document.documentElement.scrollWidth") == width
    background = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 150) == (scheme == "dark")
    assert watched.complaints == []
    watched.context.close()


def test_without_scripts_the_same_numbers_are_there(browser: Any, watched: Watched, directory: Path) -> None:
    plain = Watched(browser, viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    plain.page.goto((directory / "report.html").as_uri())
    for selector in ("table.comparison td", "table.matrix td", ".confusions td", "tbody.line th"):
        assert plain.page.locator(selector).all_text_contents() == (
            watched.page.locator(selector).all_text_contents()
        )
    assert plain.page.locator("figure[data-figure] img:visible").count() == len(PLOT_FILES) + 3
    assert plain.texts(".tools") == []
    plain.context.close()


def test_the_policy_names_what_the_page_holds(directory: Path) -> None:
    text = (directory / "report.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy
    assert " style=" not in text and not re.search(r"\son\w+=\"", text)
    assert not re.search(r"\beval\(|new Function|innerHTML|insertAdjacentHTML", page_files.script())


def test_embedded_data_end_no_script_and_come_back_as_they_were() -> None:
    content = {HOSTILE: ["\u2028", "</SCRIPT>", "<!--", 1.5, None]}
    text = page_files.embedded(content)
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text) == content


def test_a_file_for_spreadsheets_holds_no_formula(directory: Path) -> None:
    with (directory / "summary.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert any(cell.startswith("'=cmd") for cell in cells)
    assert not [cell for cell in cells if re.match(r"[=+@\t\r]|-(?!\d)", cell)]


@pytest.mark.slow
@pytest.mark.parametrize("strategies, most", [(5, 2e6), (42, 5e6)])
def test_it_is_small_and_soon_there(browser: Any, tmp_path: Path, strategies: int, most: float) -> None:
    more = [Made(f"lora@r={n}", "low-rank", 10_000 * n, 0.9 + n / 1000) for n in range(1, 13)]
    made = (*FOUR, Made("dora", "low-rank", 300_000, 0.93)) if strategies == 5 else (*thirty(), *more)
    assert len(made) == strategies
    written = write_report(summarise(load_experiment(write_synthetic(tmp_path, made, (1, 2, 3, 4, 5)))))
    size = written["report.html"].stat().st_size
    times = []
    for _ in range(3):
        watched = Watched(browser, viewport={"width": 1280, "height": 900})
        watched.page.goto(written["report.html"].as_uri())
        times.append(
            watched.page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        )
        assert (
            watched.complaints == [] and watched.page.locator("figure.drawn").count() == len(PLOT_FILES) + 1
        )
        watched.context.close()
    print(f"{strategies} strategies x 5 seeds: {size:,} bytes, interactive after {sorted(times)[1]:.0f} ms")
    assert size < most
    assert strategies > 5 or min(times) < 1000  # milliseconds; the scripts have run by then
