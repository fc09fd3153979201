"""The benchmark: what it counts, that every contender computes the same numbers, and what it writes."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from headtohead.core.engine import Engine
from headtohead.core.engine.forward import PlannedForward
from headtohead.core.engine.products import onednn_pays, product
from headtohead.core.training import Event, Measure, Moment, Step, TrainConfig
from headtohead.experiments.benchmark import contenders, results, work, worker
from headtohead.experiments.benchmark.__main__ import main
from headtohead.experiments.benchmark.contender import Assignment, Facts, Running
from headtohead.experiments.benchmark.rounds import Measured, Measurements
from headtohead.experiments.benchmark.work import Work
from headtohead.strategies import build_variants
from tests import small
from tests.paths import SMS, WHY_SKIPPED

CONFIG = TrainConfig(epochs=2, batch_size=4, evaluate_every=5, evaluate_batches=2)
needs_book = pytest.mark.skipif(
    contenders.missing(contenders.BY_NAME["book"]) is not None, reason="llms-from-scratch is not installed"
)
needs_transformers = pytest.mark.skipif(
    contenders.missing(contenders.BY_NAME["transformers"]) is not None, reason="transformers is not installed"
)


def test_products_count_the_same_by_either_library() -> None:
    counts = []
    for onednn in {False, onednn_pays()}:
        with worker._flop_counter() as counter, torch.no_grad():
            product(torch.ones(5, 8), torch.ones(3, 8), None, onednn)
        counts.append(counter.get_total_flops())
    assert set(counts) == {2 * 5 * 8 * 3}


# --- what a run consists of ------------------------------------------------------------------------------------


@pytest.mark.skipif(not SMS.is_file(), reason=WHY_SKIPPED)
def test_the_book_takes_650_steps_and_367_evaluation_batches(tmp_path: Path) -> None:
    from headtohead.core.data import load_dataset

    dataset = load_dataset(str(SMS), context_length=1024)
    counted = work.count_work(dataset, TrainConfig(), seed=123)
    assert (counted.steps, counted.evaluation_batches) == (650, 367)
    assert counted.evaluation_rows < 8 * 367


@pytest.mark.parametrize("position", ["last", "last_real"])
def test_counted_evaluations_are_those_that_the_engine_makes(
    position: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, position=position)  # type: ignore[arg-type]
    computed = []
    compute = PlannedForward._compute

    def count(self: PlannedForward, numbers: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            computed.append(len(numbers))
        return compute(self, numbers)

    monkeypatch.setattr(PlannedForward, "_compute", count)
    (variant,) = build_variants(["last_block"])
    Engine(small.pretrained(), small.dataset(), config).fit(variant, 123, tmp_path / "classifier")
    counted = work.count_work(small.dataset(), config, seed=123)
    # Beyond the protocol the engine evaluates one batch again, to compare the reloaded classifier with the trained one.
    assert 0 <= sum(computed) - counted.evaluation_rows <= config.batch_size


def test_the_sample_covers_short_and_long_batches() -> None:
    dataset = small.dataset()
    sample = work.choose_sample(dataset, CONFIG, seed=123, first=3, timed=2)
    tokens = [int(dataset.train.last_position[rows].sum()) for rows in sample.timed_batches]
    events = work.draw_events(dataset, CONFIG, 123)
    assert sample.first_batches == [event.rows.tolist() for event in events if isinstance(event, Step)][:3]
    assert tokens[0] < tokens[1]
    assert all(len(set(rows)) == len(rows) for rows in sample.evaluated.values())


def test_a_thinned_data_set_keeps_the_sampled_rows_and_its_size() -> None:
    dataset = small.dataset()
    sample = work.choose_sample(dataset, CONFIG, seed=123, first=1, timed=1)
    thinned = work.thin_out(dataset, CONFIG, sample, 0.1)
    kept = [row for rows in [*sample.first_batches, *sample.timed_batches] for row in rows]
    assert torch.equal(thinned.train.token_ids[kept], dataset.train.token_ids[kept])
    assert torch.equal(thinned.train.labels[kept], dataset.train.labels[kept])
    assert len(thinned.train) == len(dataset.train)
    assert len(set(thinned.train.texts)) < len(set(dataset.train.texts))
    assert len(work.draw_events(thinned, CONFIG, 1)) == len(work.draw_events(dataset, CONFIG, 1))


def test_spread_takes_even_distances() -> None:
    assert work.spread(list(range(10)), 2) == [2, 7]
    assert work.spread([1, 2], 5) == [1, 2]


# --- contenders ------------------------------------------------------------------------------------------------


def _start(name: str, label: str, folder: Path, thin: bool = False) -> Running:
    (variant,) = build_variants([label])
    contender, dataset = contenders.BY_NAME[name], small.dataset()
    config = replace(CONFIG, position=contender.position)
    sample = work.choose_sample(dataset, config, 123, 4, 1)
    thinned = work.thin_out(dataset, config, sample, 0.1) if thin else None
    return contender.start(
        Assignment(variant, small.pretrained(), dataset, thinned, config, "cpu", 123, folder)
    )


def _losses(running: Running, batches: list[list[int]]) -> list[float]:
    losses = []

    def events() -> Iterator[Event]:
        for number, rows in enumerate(batches):
            yield Step(torch.tensor(rows), Moment(number, 0.0, 0))
            losses.append(running.loss())
            yield Measure("loss", [torch.tensor(rows)], [torch.arange(4)], Moment(number, 0.0, 0))

    running.follow(events())
    return losses


def _first_batches() -> list[list[int]]:
    return work.choose_sample(small.dataset(), CONFIG, 123, 4, 1).first_batches


@needs_book
@pytest.mark.parametrize("label", ["head", "last_block", "all_layers", "lora"])
@pytest.mark.parametrize("name", ["ours", "ours_reference", "book_fast", "transformers"])
def test_every_contender_computes_the_books_losses(name: str, label: str, tmp_path: Path) -> None:
    if contenders.missing(contenders.BY_NAME[name]):
        pytest.skip(f"{name}: {contenders.missing(contenders.BY_NAME[name])}")
    running = _start(name, label, tmp_path, thin=True)
    expected, found = (_losses(each, _first_batches()) for each in (_start("book", label, tmp_path), running))
    assert found[0] == pytest.approx(expected[0], abs=1e-4)
    if running.facts.same_model is None:
        assert found == pytest.approx(expected, abs=1e-4)
        assert running.facts.trainable_params == _start("book", label, tmp_path).facts.trainable_params
    else:
        assert label == "lora"
    assert expected[0] != pytest.approx(expected[-1], abs=1e-6)  # they do train


@needs_book
@needs_transformers
@pytest.mark.parametrize("label", ["last_block", "lora"])
def test_the_last_real_contenders_agree(label: str, tmp_path: Path) -> None:
    names = ("ours_last_real", "book_last_real", "transformers_dynamic")
    ours, book, dynamic = (_losses(_start(name, label, tmp_path / name), _first_batches()) for name in names)
    assert ours == pytest.approx(book, abs=1e-4)
    if label != "lora":
        assert dynamic == pytest.approx(book, abs=1e-4)
    assert ours[0] != pytest.approx(_losses(_start("ours", label, tmp_path), _first_batches())[0], abs=1e-6)


@needs_book
def test_the_books_lora_trains_as_many_numbers_as_ours(tmp_path: Path) -> None:
    label = "lora@r=4+alpha=8"
    ours, book = (_start(name, label, tmp_path / name) for name in ("ours", "book"))
    assert ours.facts.trainable_params == book.facts.trainable_params
    assert _losses(ours, _first_batches()) == pytest.approx(_losses(book, _first_batches()), abs=1e-4)


@needs_book
def test_a_strategy_that_the_peers_do_not_have_is_refused(tmp_path: Path) -> None:
    from headtohead.core.errors import InputError

    with pytest.raises(InputError, match="the peers have no such layers"):
        _start("book", "ia3", tmp_path)


def test_the_prefix_is_measured_on_a_sample_and_scaled(tmp_path: Path) -> None:
    running = _start("ours", "head", tmp_path, thin=True)
    assert running.facts.cut == small.CONFIG.n_layers + 2
    assert running.facts.prefix_scale > 1.5
    assert running.facts.prefix_missing_bytes > 0
    assert running.prefix_seconds(from_disk=False) > 0
    assert running.prefix_seconds(from_disk=True) > 0


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "find_spec", lambda name: None)
    sentence = contenders.missing(contenders.BY_NAME["book"])
    assert sentence == "llms-from-scratch not installed: pip install --no-deps llms-from-scratch"
    assert contenders.missing(contenders.BY_NAME["ours"]) is None


# --- ratios ----------------------------------------------------------------------------------------------------


def test_ratios_are_taken_within_a_round() -> None:
    measurements = Measurements(gemm=[1e11], work={"last": Work(10, 4, 16, 0.0)})
    book, ours = (Measured(contenders.BY_NAME[name], "head") for name in ("book", "ours"))
    for row, once in ((book, False), (ours, True)):
        row.facts = _facts(evaluates_once=once)
        row.losses = [1.0, 0.5]
    book.steps, book.evaluations = [1.0, 2.0, 3.0], [0.5, 1.0, 1.5]
    ours.steps, ours.evaluations, ours.prefix = [0.1, 0.2, 0.3], [0.05, 0.1, 0.15], [1.1, 2.2, 3.3]
    ours.prefix_from_disk = [0.1, 0.2, 0.3]
    ours.losses = [1.0, 0.5001]
    measurements.rows = [ours, book]
    mine, theirs = results.summarise(measurements, batch_size=4)
    # the book: 10 steps and 4 batches; ours: the prefix, 10 steps and 16 messages in batches of 4
    assert theirs.protocol_seconds == pytest.approx(24.0)
    assert mine.protocol_seconds == pytest.approx(2.2 + 2.0 + 0.4)
    assert (mine.ratio, mine.ratio_low, mine.ratio_high) == pytest.approx((12 / 2.3,) * 3)
    assert mine.ratio_from_disk == pytest.approx(12 / 1.3)
    assert mine.largest_loss_difference == pytest.approx(1e-4)
    assert theirs.compared_with == "book" and theirs.ratio == pytest.approx(1.0)


def test_one_experiment_pays_the_longest_prefix_once() -> None:
    measurements = Measurements(gemm=[1e11], work={"last": Work(10, 4, 16, 0.0)})
    for strategy, prefix in (("head", 3.0), ("last_block", 2.0)):
        ours, book = (
            Measured(contenders.BY_NAME[name], strategy, facts=_facts()) for name in ("ours", "book")
        )
        ours.steps, ours.evaluations, ours.prefix, ours.prefix_from_disk = [0.1], [0.25], [prefix], [0.1]
        book.steps, book.evaluations = [1.0], [0.5]
        measurements.rows += [ours, book]
    (together,) = results.share_prefix(measurements, batch_size=4)
    assert together.strategies == ["head", "last_block"]
    assert together.seconds == pytest.approx(3.0 + 2 * 2.0)
    assert together.ratio == pytest.approx(2 * 12.0 / 7.0)


def _facts(evaluates_once: bool = False) -> Facts:
    return Facts(trainable_params=1, evaluates_once=evaluates_once)


# --- the command -----------------------------------------------------------------------------------------------


def test_the_command_writes_its_four_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In processes of their own, on the demo model and a few tokens of the demo messages."""
    monkeypatch.setattr(contenders, "find_spec", _without_the_book())
    command = [
        "--quick", "--strategies", "head,lora", "--contenders", "ours,ours_reference,book", "--data", "demo",
        "--rounds", "1", "--loss-steps", "2", "--epochs", "1", "--max-length", "8", "--no-groups",
        "--output", str(tmp_path / "speed"),
    ]  # fmt: skip
    assert main(command) == 0
    document = json.loads((tmp_path / "speed.json").read_text())
    rows = {(row["strategy"], row["contender"]): row for row in document["rows"]}
    assert rows["head", "ours"]["prefix_seconds"] > 0
    assert rows["lora", "ours"]["prefix_seconds"] is None
    for strategy in ("head", "lora"):
        ours, book = rows[strategy, "ours"], rows[strategy, "book"]
        assert ours["largest_loss_difference"] <= 1e-4 and ours["compared_with"] == "ours_reference"
        assert ours["operations_per_step"] > 0 and ours["gemm_fraction"] > 0 and ours["ratio"] > 0
        assert "pip install" in book["trouble"] and book["step_milliseconds"] is None
    assert (
        rows["head", "ours"]["operations_per_step"]
        < 0.01 * rows["head", "ours_reference"]["operations_per_step"]
    )
    with (tmp_path / "speed.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 6
    text = (tmp_path / "speed.md").read_text()
    assert "headtohead, prefix on disk" in text and "--max-length 8" in text
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def _without_the_book() -> object:
    from importlib.util import find_spec

    return lambda name: None if name == "llms_from_scratch" else find_spec(name)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--contenders", "bok"], "did you mean 'book'"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--prefix-fraction", "2"], "must be above 0 and at most 1"),
        (["--model", "125M"], "choose one of 124M"),
        (["--strategies", "haed"], "did you mean 'head'"),
    ],
)
def test_wrong_flags_are_one_sentence(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--data", "demo"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
