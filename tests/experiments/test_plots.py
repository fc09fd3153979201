"""Plots: every one is drawn from what is there, at a size that can be read, with labels that do not overlap."""

import io
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from PIL import Image

from headtohead.experiments import plots
from headtohead.experiments.charts import _panels
from headtohead.experiments.figures import Chart, Line
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.plots import PLOT_FILES, Plot, draw_all
from headtohead.experiments.statistics import Summary, summarise
from tests.experiments.synthetic import FOUR, Made, thirty, write_synthetic


def summary_of(directory: Path, *args: object, **options: object) -> Summary:
    return summarise(load_experiment(write_synthetic(directory, *args, **options)))  # type: ignore[arg-type]


@dataclass
class Drawn:
    """Plots with the figures they were saved from, by file name, kept while they are still objects."""

    summary: Summary
    plots: list[Plot]
    figures: dict[str, Figure]


def draw(summary: Summary) -> Drawn:
    figures: dict[str, Figure] = {}
    finish = plots.finish

    def keep(figure: Figure, name: str, heading: str, caption: str) -> Plot:
        figures[name] = figure
        return finish(figure, name, heading, caption)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "finish", keep)
        return Drawn(summary, draw_all(summary), figures)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw(summary_of(tmp_path_factory.mktemp("four") / "x", demo=True))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """Thirty strategies, of which dora failed."""
    directory = tmp_path_factory.mktemp("many") / "x"
    return draw(summary_of(directory, thirty(), failed={("dora", 123): "boom"}))


def test_every_plot_is_a_wide_enough_picture_with_content(four: Drawn) -> None:
    assert sorted(plot.name for plot in four.plots) == sorted(PLOT_FILES)
    for plot in four.plots:
        picture = Image.open(io.BytesIO(plot.png)).convert("L")
        assert picture.width == plots.WIDTH * plots.DPI
        assert len(np.unique(np.asarray(picture))) > 20, plot.name
        assert plot.caption


@pytest.mark.parametrize("name", ["four", "many"])
def test_labels_beside_points_do_not_overlap(name: str, request: pytest.FixtureRequest) -> None:
    drawn: Drawn = request.getfixturevalue(name)
    figure = drawn.figures["accuracy_vs_parameters.png"]
    figure.draw_without_rendering()  # measured at the figure's own resolution, no longer at the file's
    notes = [each for each in figure.axes[0].texts if isinstance(each, Annotation) and each.get_text()]
    expected = [made.label for made in FOUR] if name == "four" else drawn.summary.pareto
    assert sorted(note.get_text() for note in notes) == sorted(expected)
    boxes = [Text.get_window_extent(note) for note in notes]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    frame = figure.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)


def test_the_legend_lies_outside_the_data(many: Drawn) -> None:
    for name, figure in many.figures.items():
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert not any(
                axes.get_window_extent().overlaps(box) for axes in figure.axes if axes.get_visible()
            ), name
        assert all(axes.get_legend() is None for axes in figure.axes)


def test_the_forest_names_every_finished_strategy(many: Drawn) -> None:
    axes = many.figures["test_accuracy.png"].axes[0]
    assert {tick.get_text() for tick in axes.get_yticklabels()} == {made.label for made in thirty()} - {
        "dora"
    }


def test_training_is_solid_and_validation_dash_dotted(four: Drawn) -> None:
    for name in ("loss.png", "accuracy.png"):
        panel = four.figures[name].axes[0]
        styles = {line.get_label(): line.get_linestyle() for line in panel.get_lines()}
        assert styles == {"training": "-", "validation": "-."}
        above = panel.child_axes[0]
        assert (panel.get_title(loc="left"), above.get_xlabel()) == ("head", "examples seen")


def test_with_seeds_there_is_a_thin_line_for_each(tmp_path: Path) -> None:
    drawn = draw(summary_of(tmp_path / "x", FOUR[:1], (1, 2, 3)))
    assert len(drawn.figures["loss.png"].axes[0].get_lines()) == 2 * (3 + 1)


def test_failed_runs_are_named_and_not_drawn(many: Drawn) -> None:
    captions = {plot.name: plot.caption for plot in many.plots}
    assert "no finished run: dora" in captions["train_time.png"]


def test_demo_is_said_in_every_title(four: Drawn) -> None:
    for name, figure in four.figures.items():
        assert "DEMO" in (figure.get_suptitle() or figure.axes[0].get_title(loc="left")), name


def test_nothing_finished_gives_no_plot(tmp_path: Path) -> None:
    assert draw_all(summary_of(tmp_path / "x", FOUR[:1], failed={("head", 123): "boom"})) == []


def test_only_baselines_and_a_single_strategy_can_be_drawn(tmp_path: Path) -> None:
    baseline = Made("majority", "baselines", 0, 0.5)
    names = {plot.name for plot in draw_all(summary_of(tmp_path / "x", [baseline]))}
    assert "accuracy_vs_parameters.png" in names and "loss.png" not in names


def test_the_same_records_give_the_same_pictures(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR[:2])
    assert [plot.png for plot in draw_all(summary)] == [plot.png for plot in draw_all(summary)]


def test_long_and_foreign_names_stay_inside_every_plot(tmp_path: Path) -> None:
    label = "prefix@länge=日本語+name=ünïcode+tokens=12345+init=normal+more=abcdefgh"
    drawn = draw(summary_of(tmp_path / "x", [*FOUR, Made(label, "prompts", 5_000, 0.9)]))
    words = plots._name(label)[0]
    assert "\\u65e5" in words and "日" not in words
    for name in ("accuracy_vs_parameters.png", "test_accuracy.png", "train_time.png", "peak_memory.png"):
        figure = drawn.figures[name]
        figure.draw_without_rendering()
        axes = figure.axes[0]
        found = [text for text in (*axes.texts, *axes.get_yticklabels()) if text.get_text() == words]
        assert len(found) == 1, name
        box = Text.get_window_extent(found[0])
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1, name
        assert axes.get_window_extent().width > 0.3 * figure.bbox.width, name


def test_a_logarithmic_panel_names_its_places_in_plain_numbers() -> None:
    line = Line("lora", (1e-4, 1e-3, 1e-2), (50.0, 70.0, 60.0), chosen=1e-3)
    with rc_context(plots.STYLE):
        figure = _panels(
            Chart("s", "heading", "caption", "learning rate", "%", (line,), log=True, apart=True), "h"
        )
        figure.canvas.draw()
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert {"1e-4", "1e-3", "0.01"} <= set(labels) and "$" not in "".join(labels)
