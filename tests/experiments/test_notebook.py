"""A summary in a notebook or a script: its table, its plots, and the example that shows them."""

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from headtohead.core.errors import InputError
from headtohead.experiments.folder import load_experiment
from headtohead.experiments.plots import PLOT_FILES
from headtohead.experiments.statistics import Summary, summarise
from tests.experiments.synthetic import FOUR, Made, write_synthetic
from tests.paths import ROOT

EXAMPLES = sorted((ROOT / "experiments" / "examples").glob("*.ipynb"))


@pytest.fixture
def summary(tmp_path: Path) -> Summary:
    made = [*FOUR[:2], Made("a<b>&c", skill=0.9)]
    failed = {("a<b>&c", 1): "<script>boom</script>", ("a<b>&c", 2): "boom"}
    return summarise(load_experiment(write_synthetic(tmp_path, made, (1, 2), failed=failed)))


def test_a_summary_shows_itself_with_everything_escaped(summary: Summary) -> None:
    shown = summary._repr_html_()
    assert "<th>last_block</th>" in shown and "test acc. % ↑" in shown
    assert "a&lt;b&gt;&amp;c" in shown and "&lt;script&gt;boom" in shown and "<script" not in shown
    assert shown.count("<tr>") == 1 + 3 and "has the highest test accuracy" in shown


def test_every_plot_can_be_asked_for(summary: Summary) -> None:
    for which in ("test_accuracy", "loss"):
        figure = summary.plot(which)
        assert isinstance(figure, Figure) and figure.axes
    for which in (name.removesuffix(".png") for name in PLOT_FILES):
        assert which in str(Summary.plot.__doc__)
    with pytest.raises(InputError, match="no plot 'pie'; use one of accuracy_vs_parameters"):
        summary.plot("pie")


def test_a_plot_without_data_is_refused(tmp_path: Path) -> None:
    alone = write_synthetic(tmp_path, [Made("majority", "baselines", 0, 0.5)])
    with pytest.raises(InputError, match="no data for the plot 'loss'"):
        summarise(load_experiment(alone)).plot("loss")


def test_examples_are_kept_without_their_output() -> None:
    assert EXAMPLES
    for path in EXAMPLES:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert not any(cell.get("outputs") for cell in cells)
        assert any("compare(" in "".join(cell["source"]) for cell in cells)


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_and_shows_what_it_says(path: Path, tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    kinds = {kind for output in shown for kind in output.get("data", {})}
    assert {"text/html", "image/png"} <= kinds
    assert any(
        "has the highest test accuracy" in str(output.get("data", {}).get("text/html")) for output in shown
    )
    assert not [output for output in shown if output.output_type == "error"]
