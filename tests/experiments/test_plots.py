"""Plots: every one is drawn from what is there, at a size that can be read, with labels that do not overlap."""

import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image

from experiments import plots
from experiments.plots import PLOT_FILES, draw_all
from experiments.record import load_experiment
from experiments.statistics import Summary, summarise
from tests.experiments.synthetic import FOUR, Made, thirty, write_synthetic


def summary_of(directory: Path, *args: object, **options: object) -> Summary:
    return summarise(load_experiment(write_synthetic(directory, *args, **options)))  # type: ignore[arg-type]


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """The figures that draw_all makes, by file name, kept while they are still objects."""
    kept: dict[str, Figure] = {}
    finish = plots._finish

    def keep(figure: Figure, name: str, heading: str, caption: str) -> plots.Plot:
        kept[name] = figure
        return finish(figure, name, heading, caption)

    monkeypatch.setattr(plots, "_finish", keep)
    return kept


def test_every_plot_is_a_wide_enough_picture_with_content(tmp_path: Path) -> None:
    drawn = draw_all(summary_of(tmp_path / "x"))
    assert sorted(plot.name for plot in drawn) == sorted(PLOT_FILES)
    for plot in drawn:
        picture = Image.open(io.BytesIO(plot.png)).convert("L")
        assert picture.width == plots.WIDTH * plots.DPI
        assert len(np.unique(np.asarray(picture))) > 20, plot.name
        assert plot.caption


@pytest.mark.parametrize("strategies", [FOUR, thirty()], ids=["four", "thirty"])
def test_labels_beside_points_do_not_overlap(
    tmp_path: Path, figures: dict[str, Figure], strategies: tuple[Made, ...]
) -> None:
    summary = summary_of(tmp_path / "x", strategies)
    draw_all(summary)
    axes: Axes = figures["accuracy_vs_parameters.png"].axes[0]
    notes = [each for each in axes.texts if isinstance(each, Annotation) and each.get_text()]
    expected = {made.label for made in strategies} if len(strategies) == 4 else set(summary.pareto)
    assert {note.get_text() for note in notes} == expected
    frame = figures["accuracy_vs_parameters.png"].bbox
    boxes = [note.get_window_extent() for note in notes]
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and box.y1 <= frame.y1 for box in boxes)


def test_the_legend_lies_outside_the_data(tmp_path: Path, figures: dict[str, Figure]) -> None:
    draw_all(summary_of(tmp_path / "x", thirty()))
    for name, figure in figures.items():
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert not any(
                axes.get_window_extent().overlaps(box) for axes in figure.axes if axes.get_visible()
            ), name
        assert all(axes.get_legend() is None for axes in figure.axes)


def test_the_forest_names_every_finished_strategy(tmp_path: Path, figures: dict[str, Figure]) -> None:
    draw_all(summary_of(tmp_path / "x", thirty(), failed={("dora", 123): "boom"}))
    axes = figures["test_accuracy.png"].axes[0]
    assert {tick.get_text() for tick in axes.get_yticklabels()} == {made.label for made in thirty()} - {
        "dora"
    }


def test_training_is_solid_and_validation_dash_dotted(tmp_path: Path, figures: dict[str, Figure]) -> None:
    draw_all(summary_of(tmp_path / "x"))
    for name in ("loss.png", "accuracy.png"):
        panel = figures[name].axes[0]
        styles = {line.get_label(): line.get_linestyle() for line in panel.get_lines()}
        assert styles == {"training": "-", "validation": "-."}
        above = panel.child_axes[0]
        assert (panel.get_title(loc="left"), above.get_xlabel()) == ("head", "examples seen")


def test_with_seeds_there_is_a_thin_line_for_each(tmp_path: Path, figures: dict[str, Figure]) -> None:
    draw_all(summary_of(tmp_path / "x", FOUR[:1], (1, 2, 3)))
    assert len(figures["loss.png"].axes[0].get_lines()) == 2 * (3 + 1)


def test_failed_runs_are_named_and_not_drawn(tmp_path: Path) -> None:
    drawn = {plot.name: plot for plot in draw_all(summary_of(tmp_path / "x", failed={("lora", 123): "boom"}))}
    assert "no finished run: lora" in drawn["train_time.png"].caption


def test_demo_is_said_in_every_title(tmp_path: Path, figures: dict[str, Figure]) -> None:
    draw_all(summary_of(tmp_path / "x", demo=True))
    for name, figure in figures.items():
        heading = figure.get_suptitle() or figure.axes[0].get_title(loc="left")
        assert "DEMO" in heading, name


def test_nothing_finished_gives_no_plot(tmp_path: Path) -> None:
    assert draw_all(summary_of(tmp_path / "x", FOUR[:1], failed={("head", 123): "boom"})) == []


def test_only_baselines_and_a_single_strategy_can_be_drawn(tmp_path: Path) -> None:
    baseline = Made("majority", "baselines", 0, 0.5)
    names = {plot.name for plot in draw_all(summary_of(tmp_path / "x", [baseline]))}
    assert "accuracy_vs_parameters.png" in names and "loss.png" not in names


def test_the_same_records_give_the_same_pictures(tmp_path: Path) -> None:
    summary = summary_of(tmp_path / "x", FOUR[:2])
    assert [plot.png for plot in draw_all(summary)] == [plot.png for plot in draw_all(summary)]
