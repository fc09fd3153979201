"""The recipe of the demo model: it learns, it repeats, it goes on where it was interrupted, it says what is wrong."""

import itertools
import lzma
import math
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from headtohead.core.demo import objective, pretrain
from headtohead.core.demo import run as run_module
from headtohead.core.demo.corpus import is_held_out, pieces, read_sources
from headtohead.core.demo.load import demo_config, read_facts, read_weights
from headtohead.core.demo.material import Material, prepare
from headtohead.core.demo.network import perplexities, start_embeddings
from headtohead.core.demo.objective import SampledSoftmax, full_softmax
from headtohead.core.demo.run import PEAK_LEARNING_RATE, Run, Settings, learning_rate
from headtohead.core.demo.vocabulary import END_OF_TEXT_ROW, RARE_ROW, reduced_vocabulary
from headtohead.core.demo.windows import NO_TARGET, WindowMaker
from headtohead.core.errors import InputError, TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.tokenizer import gpt2_encoding
from tests.paths import PRETRAINING, ROOT

WORDS = (
    ("My brother", "The neighbour", "A tall woman", "Our teacher", "The old captain", "Nobody here"),
    ("found", "bought", "painted", "forgot", "borrowed", "remembered", "sold"),
    ("the red bicycle", "a small boat", "two tickets", "the kitchen table", "his umbrella", "some bread"),
    ("yesterday.", "in the rain.", "before lunch.", "without a word.", "on Sunday.", "again and again."),
)


def lines() -> list[str]:
    """Distinct sentences in an order that repeats."""
    sentences = [" ".join(words) for words in itertools.product(*WORDS)]
    random.Random(1).shuffle(sentences)
    return sentences


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two sources, one of them compressed."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "plain.txt").write_text("\n".join(lines()[:900]), encoding="utf-8")
    (folder / "packed.txt.xz").write_bytes(lzma.compress("\n".join(lines()[900:]).encode()))
    return folder


@pytest.fixture(scope="module")
def material(text: Path) -> Material:
    return prepare(text, seed=123)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "POSITIONS", 512)


def new_run(text: Path, material: Material, steps: int = 6) -> Run:
    torch.set_num_threads(1)
    run = Run(Settings(text, text, steps=steps, precision="fp32"), material)
    start_embeddings(run.model, material, seed=123)
    return run


def values(run: Run) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in run.model.parameters()]


# --- text -> messages --------------------------------------------------------------------------------------


def test_no_line_is_trained_and_held_out(text: Path) -> None:
    for source in read_sources(text, seed=1):
        assert source.held_out and not set(source.held_out) & set(source.plain)
        assert all(is_held_out(line) for line in source.held_out)
        assert len(source.plain) == len(source.varied)


def test_pieces_hold_whole_sentences() -> None:
    line = "One two three. Four five! Six seven eight nine ten? Eleven."
    assert pieces(line, 5) == ["One two three. Four five!", "Six seven eight nine ten?", "Eleven."]
    assert " ".join(pieces(line, 1)) == line


def test_the_sources_share_the_tokens_by_the_root_of_their_size(material: Material) -> None:
    assert sum(material.shares.values()) == pytest.approx(1)
    assert material.shares["plain"] > material.shares["packed"] > 0.3
    assert sum(share for _, _, share in material.pieces.groups) == pytest.approx(1)


# --- the vocabulary ----------------------------------------------------------------------------------------


def test_tokens_that_occur_have_rows_of_their_own_and_twins_share_one() -> None:
    encoding = gpt2_encoding()
    counts = np.zeros(encoding.n_vocab, dtype=np.int64)
    often, capital, once, absent = (
        encoding.encode_single_token(text) for text in (" cat", " Cat", " dog", "xml")
    )
    counts[[often, once, encoding.eot_token]] = 9, 1, 5
    vocabulary = reduced_vocabulary(counts, encoding, least=3, most=100)
    assert len(vocabulary) == 3
    assert vocabulary.row_of[encoding.eot_token] == END_OF_TEXT_ROW
    assert vocabulary.row_of[often] == vocabulary.row_of[capital] == 2
    assert vocabulary.row_of[once] == vocabulary.row_of[absent] == RARE_ROW
    assert vocabulary.counts.tolist() == [5, 1, 9]


def test_the_most_frequent_tokens_get_the_rows_that_there_are() -> None:
    encoding = gpt2_encoding()
    counts = np.arange(encoding.n_vocab, dtype=np.int64)
    vocabulary = reduced_vocabulary(counts, encoding, least=1, most=1000)
    assert len(vocabulary) == 1000
    assert vocabulary.counts[2] >= vocabulary.counts[-1] >= encoding.n_vocab - 1000


# --- windows -----------------------------------------------------------------------------------------------


def test_windows_predict_the_next_token_and_behind_a_message_its_words(material: Material) -> None:
    windows = WindowMaker(material.pieces, material.vocabulary.counts)
    bounds = zip(material.pieces.starts[:-1], material.pieces.starts[1:], strict=True)
    messages = {tuple(material.pieces.rows[start:end].tolist()) for start, end in bounds}
    inputs, targets = windows.batch(np.random.default_rng(5), 4096)
    for window, wanted in zip(inputs.tolist(), targets.tolist(), strict=True):
        message: list[int] = []
        for place, row in enumerate(window):
            if row == END_OF_TEXT_ROW:
                assert tuple(message) in messages
                assert wanted[place] in {*message, NO_TARGET}
            else:
                message = message if place and window[place - 1] != END_OF_TEXT_ROW else []
                message.append(row)
                assert place + 1 == len(window) or wanted[place] == window[place + 1]


def test_the_same_random_numbers_give_the_same_windows_of_every_length(material: Material) -> None:
    windows = WindowMaker(material.pieces, material.vocabulary.counts)
    batches = [windows.batch(np.random.default_rng([7, step]), 512) for step in range(60)]
    again = windows.batch(np.random.default_rng([7, 11]), 512)
    assert np.array_equal(batches[11][0], again[0]) and np.array_equal(batches[11][1], again[1])
    assert {inputs.shape[1] for inputs, _ in batches} == {64, 128, 256}


# --- the loss ----------------------------------------------------------------------------------------------


def test_the_sampled_loss_and_its_gradient_are_those_of_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objective, "FREQUENT_ROWS", 50)
    monkeypatch.setattr(objective, "SAMPLED_ROWS", 40)
    softmax, drawn = SampledSoftmax(np.arange(400, 0, -1)), np.random.default_rng
    torch.manual_seed(2)
    hidden, table = torch.randn(300, 16, requires_grad=True), torch.randn(400, 16, requires_grad=True)
    targets = torch.randint(0, 400, (300,))
    mean, losses = softmax(hidden, table, targets, drawn(1), half=False)
    found = torch.autograd.grad(mean, (hidden, table))
    candidates, log_weights = softmax.draw(drawn(1))
    others = (hidden @ table[candidates].T + log_weights).masked_fill(
        candidates == targets[:, None], -torch.inf
    )
    expected = F.softplus(others.logsumexp(-1) - (hidden * table[targets]).sum(-1))
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(found, torch.autograd.grad(expected.mean(), (hidden, table)))


def test_the_sampled_loss_is_the_full_one_where_every_row_is_frequent_and_near_it_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(3)
    hidden, table, targets = torch.randn(500, 8), torch.randn(900, 8), torch.randint(0, 900, (500,))
    exact = full_softmax(hidden, table, targets).mean()
    counts = np.arange(900, 0, -1)
    whole, _ = SampledSoftmax(counts)(hidden, table, targets, np.random.default_rng(1), half=False)
    torch.testing.assert_close(whole, exact)
    monkeypatch.setattr(objective, "FREQUENT_ROWS", 100)
    monkeypatch.setattr(objective, "SAMPLED_ROWS", 300)
    sampled = [
        float(SampledSoftmax(counts)(hidden, table, targets, np.random.default_rng(seed), half=False)[0])
        for seed in range(20)
    ]
    assert np.mean(sampled) == pytest.approx(float(exact), rel=0.02)


def test_rounded_products_change_the_loss_little(material: Material, text: Path) -> None:
    full, rounded = new_run(text, material), Run(Settings(text, text, steps=6, precision="bf16"), material)
    start_embeddings(rounded.model, material, seed=123)
    for run in (full, rounded):
        run.train_step()
    assert rounded.losses["next_token"] == pytest.approx(full.losses["next_token"], rel=0.01)


# --- the run -----------------------------------------------------------------------------------------------


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate(progress / 100) for progress in range(101)]
    assert 0 < rates[0] < rates[1] < max(rates) == rates[2] == PEAK_LEARNING_RATE
    assert rates[2:] == sorted(rates[2:], reverse=True) and 0 < rates[-1] < 0.02 * max(rates)


def test_learning_beats_the_unigram(text: Path, material: Material) -> None:
    run = new_run(text, material, steps=40)
    for _ in range(40):
        run.train_step()
    found, unigram = run.evaluate(None), run.unigram()
    assert all(found[name] < 0.5 * unigram[name] for name in ("all", "plain", "packed")), (found, unigram)


def test_a_run_that_goes_on_equals_one_that_was_never_interrupted(
    text: Path, material: Material, tmp_path: Path
) -> None:
    whole, first, second = (new_run(text, material) for _ in range(3))
    for _ in range(6):
        whole.train_step()
    for _ in range(3):
        first.train_step()
    first.save(tmp_path / "checkpoint.safetensors")
    second.restore(tmp_path / "checkpoint.safetensors")
    for _ in range(3):
        second.train_step()
    assert second.step == whole.step == 6 and second.losses == whole.losses
    assert all(map(torch.equal, values(whole), values(second)))


def test_perplexities_are_weighted_by_the_shares() -> None:
    found = perplexities({"a": math.log(4.0), "b": math.log(16.0)}, {"a": 0.5, "b": 0.5})
    assert found == pytest.approx({"all": 8.0, "a": 4.0, "b": 16.0})


# --- the command -------------------------------------------------------------------------------------------


def command(text: Path, output: Path, *more: str) -> list[str]:
    return ["--text", str(text), "--output", str(output), "--precision", "fp32", *more]


def test_the_command_repeats_bit_for_bit_and_its_model_loads(text: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert pretrain.main(command(text, tmp_path / name, "--steps", "5", "--seed", "7")) == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    tensors = read_weights(tmp_path / "one" / "model.safetensors")
    model = GPTModel(demo_config())
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert missing == ["out_head.weight"] and not unexpected
    facts = read_facts(tmp_path / "one" / "model.safetensors")
    assert (facts["steps"], facts["seed"]) == (5, 7) and facts["validation_perplexity"]["all"] > 1
    assert str(text) not in str(facts) and str(tmp_path) not in str(facts)
    log = (tmp_path / "one" / "training_log.csv").read_text(encoding="utf-8").splitlines()
    assert log[0].startswith("step,minutes,positions,learning_rate,train_loss_next_token")
    assert log[-1].startswith("5,")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [
        "model.safetensors",
        "training_log.csv",
    ]


def test_an_interrupted_command_goes_on(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrain, "CHECKPOINT_SECONDS", 0)
    step = Run.train_step

    def interrupted(run: Run) -> None:
        if run.step == 3:
            raise KeyboardInterrupt
        step(run)

    arguments = command(text, tmp_path / "out", "--steps", "5")
    monkeypatch.setattr(Run, "train_step", interrupted)
    assert pretrain.main(arguments) == 130
    assert "--resume" in capsys.readouterr().err
    monkeypatch.setattr(Run, "train_step", step)
    assert pretrain.main([*arguments, "--resume"]) == 0
    assert pretrain.main(command(text, tmp_path / "whole", "--steps", "5")) == 0
    resumed, whole = (read_weights(tmp_path / name / "model.safetensors") for name in ("out", "whole"))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert pretrain.main([*arguments, "--resume"]) == 2  # a finished run has no checkpoint


def test_another_seed_cannot_go_on(text: Path, material: Material, tmp_path: Path) -> None:
    run = new_run(text, material)
    run.train_step()
    run.save(tmp_path / "checkpoint.safetensors")
    other = Run(Settings(text, text, steps=6, seed=5, precision="fp32"), material)
    with pytest.raises(InputError, match="has seed 123, this run has 5"):
        other.restore(tmp_path / "checkpoint.safetensors")


def damaged(folder: Path, kind: str) -> Path:
    packed = lzma.compress("\n".join(lines()).encode())
    if kind == "absent":
        return folder / "absent"
    if kind == "empty":
        (folder / "notes.md").write_text("no text", encoding="utf-8")
    elif kind == "cut":
        (folder / "a.txt.xz").write_bytes(packed[: len(packed) // 2])
    elif kind == "no xz":
        (folder / "a.txt.xz").write_bytes(b"hello")
    elif kind == "latin":
        (folder / "a.txt").write_bytes("\n".join(lines()).encode() + b"\ncaf\xe9")
    else:
        (folder / "a.txt").write_text("one line\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("absent", "no such folder"),
        ("empty", "holds no .txt or .txt.xz file"),
        ("cut", "no xz file that can be read"),
        ("no xz", "no xz file that can be read"),
        ("latin", "not UTF-8"),
        ("small", "give a text of some hundred lines"),
    ],
)
def test_bad_text_is_one_sentence(
    kind: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pretrain.main(command(damaged(tmp_path, kind), tmp_path / "out", "--steps", "1")) == 2
    error = capsys.readouterr().err
    assert said in error and str(tmp_path) in error and len(error.splitlines()) == 1


def test_a_damaged_checkpoint_is_one_sentence(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"nothing")
    assert pretrain.main(command(text, tmp_path, "--steps", "2", "--resume")) == 2
    assert "no checkpoint that can be read" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_said_first(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert pretrain.main(command(text, tmp_path / "file", "--steps", "1")) == 2
    said = capsys.readouterr()
    assert "--output" in said.err and "cannot be written" in said.err and not said.out


def test_a_loss_that_is_not_finite_ends_the_run(text: Path, material: Material) -> None:
    run = new_run(text, material)
    with torch.no_grad():
        run.model.final_norm.scale.fill_(torch.nan)
    with pytest.raises(TrainingError, match="the loss is nan at step 0"):
        run.train_step()


@pytest.mark.parametrize("flag", [("--minutes", "0"), ("--steps", "-1"), ("--minutes", "nan")])
def test_lengths_are_positive(flag: tuple[str, str], text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        pretrain.main(command(text, text, *flag))
    assert stopped.value.code == 2 and "must be above 0" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_minutes_of_the_recipe_on_a_small_text_beat_its_unigram(text: Path, tmp_path: Path) -> None:
    """As it is run by hand, full steps: short notifications where the development data is there."""
    real = PRETRAINING / "notifications_permissive.txt.xz"
    if real.is_file():
        text = tmp_path / "text"
        text.mkdir()
        (text / real.name).symlink_to(real)
    output = tmp_path / "out"
    arguments = ["--text", str(text), "--output", str(output), "--minutes", "3", "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "core.demo.pretrain", *arguments],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = read_facts(output / "model.safetensors")
    found, unigram = facts["validation_perplexity"]["all"], facts["unigram_perplexity"]["all"]
    assert found < 0.7 * unigram, (found, unigram)
