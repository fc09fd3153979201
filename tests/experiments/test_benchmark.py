"""The benchmark: what it counts, that every contender computes the same numbers, and what it writes."""

import csv
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from headtohead.core.data import load_dataset
from headtohead.core.engine import Engine
from headtohead.core.engine.fit import FIRST_BATCHES
from headtohead.core.engine.forward import PlannedForward
from headtohead.core.errors import InputError
from headtohead.core.training import Step, TrainConfig
from headtohead.experiments.benchmark import inputs, measure, ours, output
from headtohead.experiments.benchmark.__main__ import main
from headtohead.experiments.benchmark.contender import Settings, Task, Turn
from headtohead.experiments.benchmark.inputs import Work
from headtohead.strategies import build_variants
from tests import small
from tests.paths import SMS, WHY_SKIPPED

CONFIG = TrainConfig(epochs=2, batch_size=4, evaluate_every=5, evaluate_batches=2)
SETTINGS = Settings(rounds=1, loss_steps=3, least_seconds=0.0)


def needs(name: str) -> pytest.MarkDecorator:
    why = measure.missing(measure.CONTENDERS[name])
    return pytest.mark.skipif(why is not None, reason=str(why))


def task_of(label: str, folder: Path, position: str = "last") -> Task:
    (variant,) = build_variants([label])
    sample = inputs.choose_sample(small.dataset(), CONFIG, 123, SETTINGS.loss_steps)
    thinned = inputs.thin_out(small.dataset(), sample, 0.1)
    config = replace(CONFIG, position=position)  # type: ignore[arg-type]
    return Task(variant, small.pretrained(), small.dataset(), thinned, sample, config, SETTINGS, folder)


def turn_of(name: str, label: str, folder: Path, first: bool = False) -> Turn:
    task = task_of(label, folder / name, measure.CONTENDERS[name].position)
    return measure.take_turn(name, replace(task, first=first))


# --- what a run consists of ------------------------------------------------------------------------------------


@pytest.mark.skipif(not SMS.is_file(), reason=WHY_SKIPPED)
def test_the_book_takes_650_steps_and_367_evaluation_batches() -> None:
    dataset = load_dataset(str(SMS), context_length=1024)
    counted = inputs.count_work(dataset, TrainConfig(), seed=123)
    assert (counted.steps, counted.evaluation_batches) == (650, 367)
    assert counted.evaluation_rows < 8 * 367


@pytest.mark.parametrize("position", ["last", "last_real"])
def test_counted_evaluations_are_those_that_the_engine_makes(
    position: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    compute = PlannedForward._compute

    def count(self: PlannedForward, numbers: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            computed.append(len(numbers))
        return compute(self, numbers)

    monkeypatch.setattr(PlannedForward, "_compute", count)
    task = task_of("last_block", tmp_path, position)
    Engine(task.pretrained, task.dataset, task.config).fit(task.variant, 123, tmp_path / "classifier")
    counted = inputs.count_work(task.dataset, task.config, seed=123)
    # Beyond the protocol the engine evaluates one batch again, to compare the reloaded classifier with the trained one.
    # Before it, the comparison of the plan with the reference path reads two rows, and each split's accuracy at the
    # start is measured on a few batches.
    started = sum(
        min(FIRST_BATCHES * CONFIG.batch_size, len(getattr(task.dataset, name)))
        for name in ("train", "validation", "test")
    )
    more = sum(computed) - counted.evaluation_rows
    assert started / 2 <= more <= started + CONFIG.batch_size + 2


def test_the_sample_is_of_the_protocol_and_goes_from_short_to_long(tmp_path: Path) -> None:
    task = task_of("head", tmp_path)
    drawn = [
        event.rows.tolist()
        for event in inputs.draw_events(task.dataset, CONFIG, 123)
        if isinstance(event, Step)
    ]
    tokens = [int(task.dataset.train.last_position[rows].sum()) for rows in task.sample.batches]
    assert all(rows in drawn for rows in task.sample.batches)
    assert tokens[1:] == sorted(tokens[1:]) and tokens[1] < tokens[0] < tokens[-1]
    for rows in task.sample.evaluated.values():
        assert len(set(rows)) == len(rows) == CONFIG.evaluate_batches * CONFIG.batch_size
    assert inputs.spread(list(range(10)), 2) == [2, 7] and inputs.spread([1, 2], 5) == [1, 2]


def test_a_thinned_data_set_keeps_the_sampled_rows_and_its_size(tmp_path: Path) -> None:
    task = task_of("head", tmp_path)
    whole, thinned = task.dataset.train, task.thinned.train
    kept = [row for rows in task.sample.batches for row in rows]
    assert torch.equal(thinned.token_ids[kept], whole.token_ids[kept])
    assert torch.equal(thinned.labels[kept], whole.labels[kept])
    assert len(thinned) == len(whole) and len(set(thinned.texts)) < len(set(whole.texts))


# --- contenders ------------------------------------------------------------------------------------------------


@needs("book")
@pytest.mark.parametrize("label", ["head", "last_block", "all_layers", "lora@r=4+alpha=8"])
def test_ours_computes_the_books_losses(label: str, tmp_path: Path) -> None:
    mine, book = (turn_of(name, label, tmp_path) for name in ("ours", "book"))
    assert mine.losses == pytest.approx(book.losses, abs=1e-4)
    assert mine.trainable_params == book.trainable_params
    assert book.losses[0] != pytest.approx(book.losses[-1], abs=1e-6)  # it does train


@needs("book")
@needs("transformers_dynamic")
@pytest.mark.parametrize("label", ["last_block", "lora"])
def test_the_last_real_contenders_agree(label: str, tmp_path: Path) -> None:
    """Transformers wherever its layers are the same, and at first everywhere: LoRA starts as the identity."""
    names = ("book_last_real", "ours_last_real", "transformers_dynamic")
    book, mine, dynamic = (turn_of(name, label, tmp_path) for name in names)
    assert mine.losses == pytest.approx(book.losses, abs=1e-4)
    compared = dynamic.losses if dynamic.not_compared is None else dynamic.losses[:1]
    assert compared == pytest.approx(book.losses[: len(compared)], abs=1e-4)
    assert (
        (dynamic.not_compared is None)
        == (dynamic.trainable_params == book.trainable_params)
        == (label != "lora")
    )
    assert book.losses[0] != pytest.approx(turn_of("ours", label, tmp_path).losses[0], abs=1e-6)


@needs("book")
def test_a_strategy_that_the_peers_do_not_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the peers have no such layers"):
        turn_of("book", "ia3", tmp_path)


def test_the_prefix_is_the_engines_own_scaled_to_all_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Computed by the engine under its plan; the time that it reports, times all tokens over those it was given."""
    stored = []
    hidden_states = Engine.hidden_states

    def watch(self: Engine, *arguments: object) -> object:
        stored.append(hidden_states(self, *arguments))  # type: ignore[arg-type]
        return stored[-1]

    monkeypatch.setattr(Engine, "hidden_states", watch)
    turn = turn_of("ours", "head", tmp_path, first=True)
    engine, scale = ours._engine(task_of("head", tmp_path))
    assert 1.5 < scale < 10 and len(engine.sequences) < len(set(small.dataset().train.texts))
    assert turn.prefix_seconds == pytest.approx(scale * stored[0].seconds)
    assert turn.from_disk_seconds == pytest.approx(scale * stored[-1].seconds)
    assert "read from" in stored[-1].words and "in memory" in stored[0].words


@pytest.mark.parametrize("cut", [2, small.CONFIG.n_layers + 2])
def test_operations_of_the_prefix_are_those_that_torch_counts(cut: int) -> None:
    """In the reference path's blocks, on messages of one length."""
    model, x = small.random_model(), torch.randn(5, 7, small.CONFIG.emb_dim)
    blocks = list(model.trf_blocks)[: min(cut, small.CONFIG.n_layers) - 1]
    with measure.FlopCounter() as counter, torch.no_grad():
        for block in blocks:
            x = block(x)
    assert ours.prefix_operations(small.CONFIG, cut, [7] * 5) == counter.total > 0


@pytest.mark.parametrize("rows", [5, 40])
def test_products_count_the_same_by_either_library(rows: int) -> None:
    for product in measure.libraries("cpu"):
        with measure.FlopCounter() as counter:
            product(torch.ones(rows, 8), torch.ones(3, 8))
        assert counter.total == 2 * rows * 8 * 3


def test_a_step_counts_as_torchs_own_counter_has_it() -> None:
    """Forward and backward, of products that torch counts by itself."""
    layers = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Linear(16, 4))
    counts = []
    for counter in (FlopCounterMode(display=False), measure.FlopCounter()):
        x = torch.ones(2, 5, 8, requires_grad=True)
        with counter:
            y = layers(x)
            (y @ y.transpose(1, 2)).sum().backward()
        counts.append(
            counter.total if isinstance(counter, measure.FlopCounter) else counter.get_total_flops()
        )
    assert counts[0] == counts[1] > 0


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "find_spec", lambda name: None)
    sentence = measure.missing(measure.CONTENDERS["book"])
    assert sentence == "llms_from_scratch not installed: pip install --no-deps llms-from-scratch"
    assert measure.missing(measure.CONTENDERS["ours"]) is None


# --- ratios ----------------------------------------------------------------------------------------------------


def measurements(prefix: dict[str, float]) -> measure.Measurements:
    """Three rounds of ours and the book, the machine getting slower: by strategy the first prefix's seconds."""
    found = measure.Measurements({"last": Work(10, 4, 16, 0.0)})
    for strategy, seconds in prefix.items():
        for number in range(3):
            slow = number + 1
            book = Turn(strategy, "book", number, losses=[1.0, 0.5], gemm_speed=1e11 / slow)
            book.step_seconds, book.evaluation_seconds = 1.0 * slow, 0.5 * slow
            mine = replace(book, contender="ours", losses=[1.0, 0.5001], evaluates_once=True)
            mine.step_seconds, mine.evaluation_seconds = 0.1 * slow, 0.05 * slow
            mine.prefix_seconds, mine.prefix_operations = seconds * slow, 0.8e11 * seconds
            if number == 0:
                mine.operations, mine.from_disk_seconds = 0.5e10, 0.1
            found.turns += [mine, book]
    return found


def test_ratios_and_shares_of_gemm_speed_are_taken_within_a_round() -> None:
    mine, book = output.summarise(measurements({"head": 1.1}), batch_size=4).itertuples()
    # the book: 10 steps and 4 batches; ours: the prefix, 10 steps and 16 messages in batches of 4
    assert book.whole == pytest.approx(24.0) and mine.whole == pytest.approx(2.2 + 2.0 + 0.4)
    assert (mine.ratio, mine.ratio_low, mine.ratio_high) == pytest.approx((12 / 2.3,) * 3)
    assert mine.ratio_from_disk == pytest.approx(24 / (0.1 + 2.4))
    assert (mine.gemm_fraction, mine.prefix_gemm_fraction) == pytest.approx((0.5, 0.8))
    assert mine.loss_difference == pytest.approx(1e-4)
    assert book.compared_with == "book" and book.ratio == pytest.approx(1.0)


def test_one_experiment_pays_the_longest_prefix_once() -> None:
    rows = output.summarise(measurements({"head": 3.0, "last_block": 2.0}), batch_size=4)
    (together,) = output.share_prefix(rows)
    assert together["strategies"] == ["head", "last_block"]
    assert together["seconds"] == pytest.approx(2 * 3.0 + 2 * 2.4)
    assert together["ratio"] == pytest.approx(2 * 24 / (2 * 3.0 + 2 * 2.4))


# --- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the book, on a small model and few messages, in threads, which start sooner than processes."""
    monkeypatch.setattr(measure, "find_spec", lambda name: None if "llms" in name else find_spec(name))
    monkeypatch.setattr(inputs, "find_messages", lambda *arguments: small.dataset())
    monkeypatch.setattr(inputs, "find_weights", lambda *arguments: small.pretrained())
    threads = ThreadPoolExecutor
    monkeypatch.setattr(measure, "ProcessPoolExecutor", lambda workers, mp_context: threads(workers))


@needs("transformers_dynamic")
def test_the_command_writes_its_four_files(tiny: None, tmp_path: Path) -> None:
    flags = ["--quick", "--strategies", "head", "--rounds", "1", "--loss-steps", "2"]
    assert main([*flags, "--output", str(tmp_path / "speed")]) == 0
    document = json.loads((tmp_path / "speed.json").read_text())
    rows = {row["contender"]: row for row in document["rows"]}
    mine, peer, book = (rows[name] for name in ("ours_last_real", "transformers_dynamic", "book"))
    assert mine["prefix_seconds"] > 0 and peer["prefix_seconds"] is None
    assert mine["loss_difference"] <= 1e-4 and mine["compared_with"] == "transformers_dynamic"
    assert mine["ratio"] == mine["ratio_dynamic"] > 0 and peer["ratio"] == 1
    assert 0 < mine["operations"] < 0.01 * peer["operations"] and peer["gemm_fraction"] > 0
    assert "pip install" in book["trouble"] and book["step_seconds"] is None
    assert document["several_seeds"][0]["runs"] == 10 and document["several_seeds"][0]["cost"] > 0
    with (tmp_path / "speed.csv").open() as file:
        assert {row["contender"] for row in csv.DictReader(file)} == set(rows)
    text = (tmp_path / "speed.md").read_text()
    assert "headtohead, prefix on disk" in text and "--loss-steps 2" in text and "10 runs at once" in text
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_contender_that_fails_says_why_and_the_others_go_on(tiny: None, tmp_path: Path) -> None:
    flags = ["--quick", "--strategies", "ia3", "--rounds", "1", "--loss-steps", "1"]
    flags += ["--contenders", "ours,transformers_dynamic", "--output", str(tmp_path / "speed")]
    assert main(flags) == 1
    mine, peer = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert "the peers have no such layers" in peer["trouble"] and peer["whole"] is None
    assert mine["trouble"] is None and mine["whole"] > 0 and mine["ratio"] is None
    assert "the peers have no such layers" in (tmp_path / "speed.md").read_text()


def test_every_turn_has_a_process_of_its_own(tmp_path: Path) -> None:
    """Its result comes back; one that dies is an empty row, and the next turn starts anew."""
    task = task_of("head", tmp_path)
    benchmark = measure.Benchmark([measure.CONTENDERS["ours"]], task, Console(quiet=True))
    nothing, trouble = benchmark._in_process("ours", os._exit, 3)
    assert (
        nothing is None and trouble is not None and "BrokenProcessPool" in trouble and benchmark.found.failed
    )
    turn, trouble = benchmark._in_process("ours", measure.take_turn, "ours", task)
    assert trouble is None and turn is not None and len(turn.losses) == 1 + SETTINGS.loss_steps
    assert turn.peak_memory_bytes is None or turn.peak_memory_bytes < 2**30


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--contenders", "bok"], "did you mean 'book'"),
        (["--contenders", "book_last_real"], "unknown contender"),
        (["--rounds", "0"], "--rounds 0: must be 1 or more"),
        (["--loss-steps", "-1"], "--loss-steps -1: must be 1 or more"),
        (["--weights-dir", "nowhere"], "the weights folder nowhere does not exist"),
        (["--strategies", "haed"], "did you mean 'head'"),
    ],
)
def test_wrong_flags_are_one_sentence(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags, "--data", "demo"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
