"""Whatever a class is read from, and with or without a causal mask, plans give the reference path's losses."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch

from headtohead import strategies
from headtohead.core.classifier import load_classifier
from headtohead.core.engine import ALL, REFERENCE, Engine, Job, Outcome
from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.engine.stacked import fit_stacked
from headtohead.core.readout import READOUTS, ReadoutName
from tests import small
from tests.core.engine.tiny import CONFIG, TINY, engine_of, run

LABELS = (
    *("head", "last_block", "all_layers", "lora@r=2+alpha=4"),
    *("prompt_tuning@tokens=3", "prefix_tuning@tokens=3"),
)
# The default run has each label and each readout once or twice; `-m slow` has all.
QUICK = {
    ("head", "mean", False),
    ("last_block", "mean", True),
    ("last_block", "last_real", False),
    ("all_layers", "first", True),
    ("lora@r=2+alpha=4", "last", False),
    ("prompt_tuning@tokens=3", "mean", True),
    ("prefix_tuning@tokens=3", "first", False),
}
COMBINATIONS = [
    pytest.param(*each, marks=[] if each in QUICK else pytest.mark.slow)
    for each in product(LABELS, READOUTS, (True, False))
]
SAME = 1e-5


def losses(outcome: Outcome) -> list[float]:
    rows = [(row.train_loss, row.validation_loss) for row in outcome.history.rows]
    final = [getattr(outcome, name).loss for name in ("train", "validation", "test")]
    return [each for row in rows for each in row if each is not None] + final


@pytest.mark.parametrize(("label", "readout", "causal"), COMBINATIONS)
def test_losses_are_those_of_the_reference_path(
    label: str, readout: ReadoutName, causal: bool, tmp_path: Path
) -> None:
    config = replace(CONFIG, position=readout, causal=causal)
    planned = run(label, config, tmp_path)
    assert not any("did not agree" in note for note in planned.plan["notes"]), planned.plan["notes"]
    reference = run(label, config, tmp_path, allowed=REFERENCE)
    assert losses(planned) == pytest.approx(losses(reference), rel=0, abs=SAME)
    assert (planned.test.logits - reference.test.logits).abs().max() < 10 * SAME


@pytest.mark.parametrize(("readout", "causal"), [("mean", True), ("first", True), ("last", False)])
def test_frozen_blocks_are_computed_once_for_every_readout(readout: ReadoutName, causal: bool) -> None:
    engine = engine_of(replace(CONFIG, position=readout, causal=causal))
    seen = [engine.inspect(each) for each in strategies.build_variants(["head", "last_block"])]
    assert [each.cut for each in seen] == [TINY.n_layers + 2, TINY.n_layers]
    assert all(each.restructured for each in seen)


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [replace(ALL, last_position=False), replace(ALL, restructured=False)])
@pytest.mark.parametrize(("readout", "causal"), [("mean", True), ("last_real", False)])
def test_less_is_left_out_where_less_is_allowed(
    allowed: object, readout: ReadoutName, causal: bool, tmp_path: Path
) -> None:
    config = replace(CONFIG, position=readout, causal=causal)
    planned, reference = (run("last_block", config, tmp_path, allowed=each) for each in (allowed, REFERENCE))
    assert losses(planned) == pytest.approx(losses(reference), rel=0, abs=SAME)


@pytest.mark.slow
@pytest.mark.parametrize("label", ["last_block", "norms"])
@pytest.mark.parametrize(("readout", "causal"), [("mean", True), ("mean", False), ("last_real", False)])
def test_stacked_seeds_are_the_single_runs(
    label: str, readout: ReadoutName, causal: bool, tmp_path: Path
) -> None:
    (variant,) = strategies.build_variants([label])
    engine = engine_of(replace(CONFIG, position=readout, causal=causal))
    jobs = [Job(variant, seed, tmp_path / str(seed)) for seed in (1, 2)]
    for job, outcome in fit_stacked(engine, jobs, lambda progress: None):
        assert isinstance(outcome, Outcome), outcome
        alone = engine.fit(variant, job.seed, tmp_path / "alone")
        assert losses(outcome) == pytest.approx(losses(alone), rel=0, abs=SAME)


def test_readouts_differ_and_sequences_hold_what_can_matter() -> None:
    data = small.dataset(48, 16)
    token_count = {
        (name, causal): len(distinct_sequences(data, replace(CONFIG, position=name, causal=causal)).token_ids)
        for name in get_args(ReadoutName)
        for causal in (True, False)
    }
    full = token_count["last", True]
    assert token_count["first", True] < token_count["last_real", True] < full
    assert all(count == full for (_, causal), count in token_count.items() if not causal)
    keys = {
        distinct_sequences(data, replace(CONFIG, position=name)).sha256() for name in get_args(ReadoutName)
    }
    assert len(keys) == len(READOUTS)


@pytest.mark.parametrize(("readout", "causal"), [("mean", True), ("last_real", False)])
def test_a_saved_classifier_reads_as_it_was_trained(
    readout: ReadoutName, causal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.use_tiny_demo(monkeypatch)
    from headtohead.core.weights import find_pretrained

    (variant,) = strategies.build_variants(["all_layers"])
    config, data = replace(CONFIG, position=readout, causal=causal), small.dataset(48, 16)
    outcome = Engine(find_pretrained("demo", None), data, config).fit(variant, 123, tmp_path / "classifier")
    loaded = load_classifier(tmp_path)
    assert (loaded.info.readout, loaded.info.causal) == (readout, causal)
    torch.testing.assert_close(loaded.logits(data.test.texts), outcome.test.logits, rtol=0, atol=1e-5)
