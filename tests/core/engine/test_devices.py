"""No tensor is left behind on the CPU: the engine's parts compute on another device what they compute here."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from headtohead import strategies
from headtohead.core.classifier import make_classifier
from headtohead.core.engine import Engine, EngineOptions, Job, prefix
from headtohead.core.engine.embedding import CompactEmbedding
from headtohead.core.engine.forward import PlannedForward, ReferenceForward
from headtohead.core.engine.group import events_of
from headtohead.core.engine.heads import _first_head, _Heads
from headtohead.core.engine.plan import ALL
from headtohead.core.engine.prefix import Stored
from headtohead.core.strategy import Strategy
from headtohead.core.training import SPLITS, TrainConfig, training_loss
from tests import small
from tests.core.engine.test_parity import CONFIG
from tests.stand_in import DEVICE, There, stand_in

LABELS = ("last_block", "all_layers", "lora@r=2", "lora@r=2+targets=W_query/layers.0", "head")
ROWS = torch.tensor([5, 0, 3, 9])


def engine_of(config: TrainConfig) -> Engine:
    return Engine(small.pretrained(), small.dataset(), config, EngineOptions())


def there(tensor: Tensor) -> Tensor:
    return tensor.to(DEVICE)


def step(model: Any, strategy: Strategy, forward: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and gradients of one training batch, and what an evaluation gives after it, all on the CPU."""
    model.train()
    loss = training_loss(model, strategy, forward, ROWS)
    loss.backward()
    model.eval()
    gradients = {name: each.grad.cpu() for name, each in model.named_parameters() if each.grad is not None}
    with torch.no_grad():
        forward.parameters_changed()
        logits = forward.logits("test", torch.arange(8)).cpu()
    return torch.cat([loss.detach().cpu().view(1), logits.flatten()]), gradients


@pytest.mark.parametrize("position", ["last", "last_real"])
@pytest.mark.parametrize("label", LABELS)
def test_steps_and_evaluations(label: str, position: Any) -> None:
    engine = engine_of(replace(CONFIG, position=position))
    (variant,) = strategies.build_variants([label])
    strategy = variant.strategy
    assert isinstance(strategy, Strategy)

    def side(where: str) -> tuple[Tensor, dict[str, Tensor]]:
        model = engine.pretrained.build()
        make_classifier(model, strategy, 2, seed=7)
        plan = engine.plan_of(model, strategy)
        stored = engine.hidden_states(plan.cut, lambda progress: None) if plan.cut else None
        if where != "cpu":
            model = model.to(where)
            stored = stored and Stored(there(stored.hidden), 0.0, "")
        sequences = engine.sequences
        if plan.compact_embedding:
            sequences = CompactEmbedding(model, engine.sequences).sequences
        labels = {name: getattr(engine.dataset, name).labels.to(where) for name in SPLITS}
        updates = strategy.low_rank(model)
        return step(
            model, strategy, PlannedForward(model, sequences, labels, plan, stored, updates, fixed=True)
        )

    expected, gradients = side("cpu")
    with stand_in():
        found, theirs = side(DEVICE)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert theirs.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(theirs[name], gradient, rtol=1e-3, atol=1e-5)


def test_the_reference_path() -> None:
    engine = engine_of(CONFIG)
    (variant,) = strategies.build_variants(["last_block"])
    strategy = variant.strategy
    assert isinstance(strategy, Strategy)
    found = []
    for where in ("cpu", DEVICE):
        with stand_in():
            model = engine.pretrained.build()
            make_classifier(model, strategy, 2, seed=7)
            forward = ReferenceForward(model.to(where), engine.dataset, engine.config, where)
            found.append(step(model, strategy, forward)[0])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


class Inline:
    """An executor that does everything at once, in this thread."""

    def __init__(self, *options: Any, **more: Any) -> None: ...

    def __enter__(self) -> "Inline":
        return self

    def __exit__(self, *error: object) -> None: ...

    def map(self, function: Any, items: Any) -> Any:
        return map(function, items)


@pytest.mark.parametrize("position", ["last", "last_real"])
def test_the_frozen_prefix(position: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "ThreadPoolExecutor", Inline)  # the stand-in is one thread's
    engine = engine_of(replace(CONFIG, position=position))
    for label in ("head", "last_block"):
        engine.inspect(*strategies.build_variants([label]))
    cuts = sorted({seen.cut for seen in engine._inspected.values()})
    with stand_in():
        other = replace(engine.prefix, device=DEVICE, _stored={})
        for cut in cuts:
            stored = other.get(cut, cuts, engine.pretrained.build, lambda done, total: None)
            assert isinstance(stored.hidden, There)
            expected = engine.hidden_states(cut, lambda progress: None).hidden
            torch.testing.assert_close(stored.hidden.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_heads_together() -> None:
    engine = engine_of(CONFIG)
    variants = strategies.build_variants(["head", "head@learning_rate=1e-2"])
    jobs = [Job(variant, seed, None) for variant in variants for seed in (1, 2)]  # type: ignore[arg-type]
    stored = engine.hidden_states(engine.inspect(variants[0]).cut, lambda progress: None)
    head = nn.Linear(small.CONFIG.emb_dim, 2)

    def losses(where: str) -> Tensor:
        other = SimpleNamespace(
            options=SimpleNamespace(device=where),
            class_weights=engine.class_weights,
            sequences=engine.sequences,
            labels={name: getattr(engine.dataset, name).labels.to(where) for name in SPLITS},
        )
        run: Any = SimpleNamespace(
            stored=Stored(stored.hidden.to(where), 0.0, ""), model=SimpleNamespace(out_head=head)
        )
        heads: Any = _Heads(other, jobs, run, [_first_head(engine, job, run) for job in jobs])  # type: ignore[arg-type]
        heads.train([events_of(engine, job.seed) for job in jobs], lambda progress: None)
        return torch.stack(heads.losses).cpu()

    expected = losses("cpu")
    with stand_in():
        torch.testing.assert_close(losses(DEVICE), expected, rtol=1e-4, atol=1e-5)


def test_the_stand_in_finds_what_a_gpu_would() -> None:
    with stand_in():
        a, b = there(torch.ones(3)), torch.ones(3)
        assert a.device.type == DEVICE and float((a + 1).sum()) == 6 and (a @ a).item() == 3
        assert a[torch.tensor([0, 2])].shape == (2,)
        for wrong in (
            lambda: a + b,
            lambda: b[there(torch.tensor([0]))],
            lambda: torch.cat([a, b]),
            lambda: b @ a,
        ):
            with pytest.raises(RuntimeError, match="same device"):
                wrong()
    engine = engine_of(CONFIG)
    with stand_in(), pytest.raises(RuntimeError, match="same device"):
        # Labels that were left on the CPU, as they would be without ``.to(device)``.
        model = engine.pretrained.build()
        (variant,) = strategies.build_variants(["last_block"])
        make_classifier(model, variant.strategy, 2, seed=7)  # type: ignore[arg-type]
        forward = PlannedForward(
            model.to(DEVICE), engine.sequences, engine.labels, replace(ALL, cut=0), None, {}, fixed=True
        )
        training_loss(model, variant.strategy, forward, ROWS)  # type: ignore[arg-type]
