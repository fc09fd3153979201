"""A run on a part of the data sees that part alone, shares what was computed, and has the numbers it has alone."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headtohead import strategies
from headtohead.core.data import Dataset, Split
from headtohead.core.engine import Engine, Job, Outcome, Part, fit_group, groups
from headtohead.core.engine.prefix import PrefixCache
from headtohead.core.sample import balanced_rows
from tests import small
from tests.core.engine.test_parity import CONFIG
from tests.core.engine.test_seeds import make_engine


def test_subsets_are_nested_balanced_and_of_a_seed() -> None:
    labels = [0] * 30 + [1] * 12 + [2] * 40
    sizes = {size: balanced_rows(labels, size, seed=1) for size in (3, 9, 30, 60, 82)}
    for smaller, larger in zip(list(sizes)[:-1], list(sizes)[1:], strict=True):
        assert sizes[larger][:smaller] == sizes[smaller]
    assert Counter(labels[row] for row in sizes[30]) == {0: 10, 1: 10, 2: 10}
    assert Counter(labels[row] for row in sizes[60]) == {0: 24, 1: 12, 2: 24}  # where a class has no more
    assert sorted(sizes[82]) == list(range(82))
    assert balanced_rows(labels, 9, seed=2) != sizes[9]


def only(dataset: Dataset, rows: list[int]) -> Dataset:
    train = dataset.train
    kept = Split(
        tuple(train.texts[row] for row in rows),
        train.token_ids[rows],
        train.last_position[rows],
        train.labels[rows],
    )
    return replace(dataset, train=kept)


SLOW = [pytest.param(label, marks=pytest.mark.slow) for label in ("last_block", "linear_probe")]


@pytest.mark.parametrize("label", ["head", "tfidf_logreg", *SLOW])
def test_a_subset_is_as_good_as_a_data_set_of_its_own(label: str, tmp_path: Path) -> None:
    (variant,) = strategies.build_variants([label])
    whole = make_engine()
    part = whole.of(Part(train_size=24)).fit(variant, 5, tmp_path / "part")
    rows = balanced_rows(small.dataset().train.labels.tolist(), 24, 5)
    alone = Engine(small.pretrained(), only(small.dataset(), rows), CONFIG).fit(
        variant, 5, tmp_path / "alone"
    )
    assert part.history.steps == alone.history.steps
    assert [row.train_loss for row in part.history.rows] == pytest.approx(
        [row.train_loss for row in alone.history.rows], abs=1e-5
    )
    assert part.test is not None and alone.test is not None
    assert torch.allclose(part.test.logits, alone.test.logits, atol=1e-4)


def test_all_sizes_and_trials_share_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[list[int]] = []
    compute = PrefixCache._compute

    def counted(self: PrefixCache, cuts: list[int], *rest: object) -> None:
        passes.append(cuts)
        compute(self, cuts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(PrefixCache, "_compute", counted)
    (head,) = strategies.build_variants(["head"])
    engine = make_engine()
    parts = [Part(), Part(train_size=16), Part(train_size=32), Part(epochs=1, test=False)]
    jobs = [Job(head, seed, tmp_path / f"{part}{seed}", part) for part in parts for seed in (1, 2)]
    found = groups(engine, jobs)
    assert [len(group) for group in found] == [6, 2]  # with and without test messages
    outcomes = [outcome for group in found for _, outcome in fit_group(engine, group, lambda progress: None)]
    assert len(passes) == 1
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    tested = [outcome.test is not None for outcome in outcomes if isinstance(outcome, Outcome)]
    assert tested == [True] * 6 + [False] * 2


def test_a_trial_has_the_validation_accuracy_of_the_run(tmp_path: Path) -> None:
    (variant,) = strategies.build_variants(["last_block"])
    engine = make_engine()
    run = engine.fit(variant, 3, tmp_path / "run")
    trial = engine.of(Part(test=False)).fit(variant, 3, tmp_path / "trial")
    assert (
        trial.validation.accuracy == run.validation.accuracy and trial.validation.loss == run.validation.loss
    )
    assert trial.test is None and trial.classifier_bytes is None and not (tmp_path / "trial").exists()


@pytest.mark.slow
def test_spread_runs_have_the_numbers_they_have_alone(tmp_path: Path) -> None:
    variants = strategies.build_variants(["lora", "lora@learning_rate=1e-2"])
    engine = make_engine()
    spread = Engine(small.pretrained(), small.dataset(), CONFIG, replace(engine.options, spread=True))
    part = Part(epochs=1, test=False)
    jobs = [Job(variant, 1, tmp_path / variant.label, part) for variant in variants]
    assert [len(group) for group in groups(engine, jobs)] == [1, 1]
    (group,) = groups(spread, jobs)
    for job, outcome in list(fit_group(spread, group, lambda progress: None)):
        alone = engine.of(part).fit(job.variant, 1, tmp_path / "alone")
        assert isinstance(outcome, Outcome)
        assert outcome.validation.loss == pytest.approx(alone.validation.loss, abs=1e-6)
