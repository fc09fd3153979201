"""The book's bonus rows as settings: what each asks for, what is refused, and what stands beside ours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headtohead.core.config import CONFIGS
from headtohead.core.engine import prefix
from headtohead.core.errors import InputError
from headtohead.core.training import TrainConfig
from headtohead.experiments import bonus, command_line
from headtohead.experiments.bonus_rows import BONUS, IMDB, SUITES
from headtohead.experiments.sections.published import is_real
from headtohead.experiments.spec.presets import SUITES as NAMES
from headtohead.experiments.watch import Watcher
from headtohead.strategies import build_variants
from tests import small

ROWS = {row.number: row for row in BONUS.rows}


def experiment(number: int, **given: str):
    return bonus.experiment_of(BONUS, [ROWS[number]], given)


def test_the_presets_are_the_suites() -> None:
    assert set(NAMES) == set(SUITES)
    assert [row.number for row in BONUS.rows] == list(range(1, 20))
    for suite in SUITES.values():
        assert all(build_variants([row.strategy]) for row in suite.rows)


@pytest.mark.parametrize(
    ("number", "changes"),
    [
        (1, {}),
        (2, {"position": "first"}),
        (15, {"batch_size": 1, "position": "last_real", "accumulation_steps": 8}),
        (17, {"causal": False}),
        (18, {}),
        (19, {"position": "mean"}),
    ],
)
def test_a_row_differs_from_the_chapter_in_its_settings_alone(number: int, changes: dict[str, Any]) -> None:
    found = experiment(number)
    assert found.training.train_config() == replace(TrainConfig(), **changes)
    assert (found.data.name, found.seeds, found.model.name) == ("sms_spam", (123,), ROWS[number].size)


def test_sizes_random_weights_and_context() -> None:
    assert [experiment(number).model.name for number in (6, 7, 8, 12)] == ["355M", "774M", "1558M", "1558M"]
    assert experiment(10).model.weights == "random" and experiment(13).data.max_length == "context"
    (lora,) = build_variants([ROWS[12].strategy])
    assert (lora.strategy.alpha, lora.strategy.divide_by_r, lora.strategy.learning_rate) == (8, False, 5e-5)


def test_one_model_is_that_of_all_rows() -> None:
    assert experiment(8, model="demo").model.name == "demo"
    assert experiment(8, model="demo").output.name == "bonus"
    assert experiment(8).output.name == "bonus-1558M"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--preset", "bonus", "--rows", "20"], "there is no row '20'"),
        (["--preset", "bonus", "--rows", "1-3"], "there is no row '1-3'"),
        (["--rows", "1"], "--preset bonus or imdb"),
        (["--preset", "bonus", "--strategies", "head"], "sets --strategies itself"),
        (["--preset", "bonus", "--readout", "mean"], "sets --readout itself"),
        (["--preset", "bonus", "--dry-run"], "--dry-run is of one experiment"),
        (["--preset", "bonsu"], "did you mean"),
    ],
)
def test_what_cannot_be_asked(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path
) -> None:
    assert command_line.main([*argv, "--results-dir", str(tmp_path)]) == command_line.EXIT_USAGE
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_row_that_does_not_fit_is_left_out_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "available_memory", lambda: 8 * 2**30)
    assert bonus.too_large(ROWS[1], {}) == ""
    said = bonus.too_large(ROWS[9], {})
    assert "GiB of memory" in said and "8.0 GiB are free" in said


def test_published_figures_stand_beside_the_published_weights_alone() -> None:
    about = {"model": {"name": "124M", "is_demo": False}, "dataset": {"name": "sms_spam"}}
    assert is_real(BONUS, ROWS[1], about)
    assert not is_real(BONUS, ROWS[6], about) and not is_real(BONUS, ROWS[10], about)
    assert not is_real(BONUS, ROWS[1], {**about, "dataset": {"name": "mails"}})
    assert not is_real(IMDB, IMDB.rows[0], about)
    assert is_real(BONUS, ROWS[10], {**about, "model": {"name": "random:124M", "is_demo": False}})


@pytest.mark.slow
def test_rows_run_and_their_table_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small.use_tiny_demo(monkeypatch)
    given = {"preset": "bonus", "rows": "3,18,1", "model": "demo", "data": "demo", "epochs": "1"}
    results = bonus.run_suite({**given, "results_dir": str(tmp_path)}, "command", Watcher())
    assert [result.row.number for result in results] == [3, 18, 1]
    assert all(result.found and not result.real for result in results)
    assert results[1].found == results[2].found  # nothing in the loss is ever ignored
    text = (tmp_path / "bonus.md").read_text()
    assert "row 1" in text and "No published figure" in text
    assert CONFIGS["demo"] == small.TINY_DEMO


def test_weights_that_cannot_be_had_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADTOHEAD_CACHE", str(tmp_path / "cache"))
    given = {"preset": "bonus", "rows": "1", "offline": True, "results_dir": str(tmp_path)}
    with pytest.raises(InputError, match="no row could be run"):
        bonus.run_suite(given, "command", Watcher())
