"""One output with binary cross-entropy, weighed classes, and the accuracy before the first step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from headtohead import strategies
from headtohead.core.classifier import load_classifier
from headtohead.core.engine import REFERENCE, Engine, EngineOptions, Job, Outcome
from headtohead.core.engine.fit import prepare_run
from headtohead.core.engine.heads import fit_heads
from headtohead.core.errors import InputError
from headtohead.core.single_output import SingleOutput
from headtohead.core.training import balanced_weights
from tests import small
from tests.core.engine.tiny import CONFIG, TINY, engine_of, run


def losses(outcome: Outcome) -> list[float | None]:
    return [row.train_loss for row in outcome.history.rows if row.train_loss is not None]


def test_cross_entropy_of_one_output_is_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    head, hidden, labels = SingleOutput(16), torch.randn(7, 16), torch.randint(2, (7,))
    output = torch.nn.Linear.forward(head, hidden)[:, 0]
    expected = F.binary_cross_entropy_with_logits(output, labels.float())
    torch.testing.assert_close(F.cross_entropy(head(hidden), labels), expected)
    torch.testing.assert_close(head(hidden).softmax(-1)[:, 1], output.sigmoid())


@pytest.mark.parametrize("label", ["head", "lora@r=2+alpha=4"])
def test_one_output_trains_plans_saves_and_answers(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small.use_tiny_demo(monkeypatch)
    from headtohead.core.weights import find_pretrained

    config, data = replace(CONFIG, outputs=1), small.dataset(48, 16)
    (variant,) = strategies.build_variants([label])
    pretrained = find_pretrained("demo", None)
    found = Engine(pretrained, data, config).fit(variant, 1, tmp_path / "classifier")
    plain = Engine(pretrained, data, config, EngineOptions(allowed=REFERENCE)).fit(
        variant, 1, tmp_path / "other"
    )
    assert losses(found) == pytest.approx(losses(plain), rel=0, abs=1e-5)
    two = Engine(pretrained, data, CONFIG).inspect(variant)
    assert two.trainable_params is not None
    assert found.trainable_params == two.trainable_params - pretrained.config.emb_dim - 1
    loaded = load_classifier(tmp_path)
    torch.testing.assert_close(loaded.logits(data.test.texts), found.test.logits, rtol=0, atol=1e-5)
    assert torch.equal(found.test.logits[:, 0], torch.zeros(len(data.test)))


def test_one_output_cannot_tell_three_classes_apart() -> None:
    data = replace(small.dataset(48, 16), label_names=("a", "b", "c"))
    with pytest.raises(InputError, match="--outputs 1 tells two classes apart, but small has 3"):
        Engine(small.pretrained(TINY), data, replace(CONFIG, outputs=1))


def test_weights_make_classes_count_alike() -> None:
    labels = torch.tensor([0] * 6 + [1] * 2)
    weights = balanced_weights(labels, 2)
    assert weights[labels].sum() == len(labels) and weights[0] * 6 == weights[1] * 2


def test_heads_at_once_weigh_classes_as_one_run_does(tmp_path: Path) -> None:
    data = small.dataset(48, 16)
    rare = (torch.arange(len(data.train)) % 6 == 0).long()
    data = replace(data, train=replace(data.train, labels=rare))
    config = replace(CONFIG, class_weights=True, evaluate_every=1)
    (variant,) = strategies.build_variants(["head@learning_rate=0.05"])
    pretrained = small.pretrained(TINY)
    plain = EngineOptions(allowed=REFERENCE)
    alone = Engine(pretrained, data, config, plain).fit(variant, 123, tmp_path / "alone")
    unweighed = Engine(pretrained, data, replace(config, class_weights=False), plain).fit(
        variant, 123, tmp_path / "other"
    )
    engine = Engine(pretrained, data, config)
    jobs = [Job(variant, seed, tmp_path / str(seed)) for seed in (122, 123)]
    grouped = {job.seed: outcome for job, outcome in fit_heads(engine, jobs, lambda progress: None)}[123]
    assert isinstance(grouped, Outcome)
    assert losses(grouped) == pytest.approx(losses(alone), rel=0, abs=1e-5)
    assert grouped.before == alone.before
    assert losses(alone)[1:] != pytest.approx(losses(unweighed)[1:], rel=0, abs=1e-3)


@pytest.mark.parametrize("label", ["all_layers", "lora@r=2+alpha=4"])
def test_accumulated_gradients_are_the_reference_paths(label: str, tmp_path: Path) -> None:
    config = replace(CONFIG, batch_size=2, accumulation_steps=4)
    planned, reference = (run(label, config, tmp_path, **each) for each in ({}, {"allowed": REFERENCE}))
    assert (planned.history.steps, planned.history.updates) == (
        14,
        4,
    )  # 28 rows; the last two batches update, too
    assert losses(planned) == pytest.approx(losses(reference), rel=0, abs=1e-5)
    assert (planned.test.logits - reference.test.logits).abs().max() < 1e-4


def test_four_batches_accumulated_are_one_of_four_times_the_size() -> None:
    """One update of four batches of 2 moves the parameters as one of 8 rows does."""
    from headtohead.core.training import Moment, Step, train

    engine = engine_of(CONFIG, allowed=REFERENCE)
    (variant,) = strategies.build_variants(["last_block"])
    rows, found = torch.arange(8), []
    for steps, size in ((1, 8), (4, 2)):
        run_ = prepare_run(engine, Job(variant, 1, Path("unused")), lambda progress: None)
        optimizer = torch.optim.SGD([p for p in run_.model.parameters() if p.requires_grad], lr=0.1)
        parts = rows.split(size)
        events = [Step(part, Moment(n, 0.0, 0), n == len(parts) - 1) for n, part in enumerate(parts)]
        history = train(
            run_.model, run_.strategy, run_.forward, optimizer, events, steps, accumulation_steps=steps
        )
        assert history.updates == 1
        found.append(torch.cat([p.detach().flatten() for p in run_.model.parameters()]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


def test_the_accuracy_before_training_is_that_of_the_first_batches(tmp_path: Path) -> None:
    outcome = run("last_block", CONFIG, tmp_path)
    reference = run("last_block", CONFIG, tmp_path, allowed=REFERENCE)
    assert outcome.before == reference.before and set(outcome.before) == {"train", "validation", "test"}
    engine = engine_of(CONFIG, allowed=REFERENCE)
    (variant,) = strategies.build_variants(["last_block"])
    run_ = prepare_run(engine, Job(variant, 123, tmp_path), lambda progress: None)
    with torch.no_grad():
        logits = run_.forward.logits("test", torch.arange(len(engine.dataset.test)))
    assert outcome.before["test"] == (logits.argmax(-1) == engine.dataset.test.labels).double().mean()
