"""Seeds trained as one batched problem have the numbers that each has alone.

The way is meant for an accelerator; here it is taken on the CPU, by calling it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from headtohead import strategies
from headtohead.core.engine import Engine, EngineOptions, Job, Outcome, fit_group, groups, seeds, stacked
from headtohead.core.engine.fit import prepare_run
from headtohead.core.engine.plan import ALL, Plan
from headtohead.core.engine.seeds import Way, way_of
from headtohead.core.engine.stacked import Stack, fit_stacked
from headtohead.core.engine.tail import Tail
from headtohead.core.errors import TrainingError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import Progress
from tests import small
from tests.core.engine.test_parity import CONFIG, assert_same_numbers

SEEDS = (123, 124, 125)
# At rates at which a gradient that is missing or wrong shows in the losses.
METHODS = ("last_block@learning_rate=1e-3", "last_n_blocks@n=2+learning_rate=1e-3", "lora@layers=2")
Position = Literal["last", "last_real"]
Done = dict[int, Any]  # seed -> Outcome | Exception


@dataclass(frozen=True, kw_only=True)
class Biases(Strategy):
    """The biases of the last block, with two groups, and the head."""

    learning_rate: float = 1e-2

    def apply(self, model: GPTModel) -> None:
        for name, parameter in model.trf_blocks[-1].named_parameters():
            parameter.requires_grad_(name.endswith("bias"))

    def param_groups(self, model: GPTModel) -> list[dict[str, Any]]:
        block, head = model.trf_blocks[-1], model.out_head
        return [{"params": list(block.parameters())}, {"params": list(head.parameters()), "lr": 1e-3}]


@dataclass(frozen=True, kw_only=True)
class Inserts(Strategy):
    """A layer around the last block's first linear layer, and the head."""

    layer: str = "Projected"

    def apply(self, model: GPTModel) -> None:
        layers: Any = model.trf_blocks[-1].ff.layers
        layers[0] = {"Projected": Projected, "Reads": Reads, "Hides": Hides}[self.layer](layers[0])


class Projected(nn.Module):
    """A trained scale of a frozen random projection, which every seed draws for itself."""

    projection: Tensor

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.zeros(inner.out_features))
        self.register_buffer("projection", 0.1 * torch.randn(inner.out_features, inner.in_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.scale * (x @ self.projection.T)


class Reads(Projected):
    """Reads a number from the device, which cannot be done for several runs at once."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1.0 if float(x.detach().sum()) < 1e9 else 2.0)


class Hides(Projected):
    """Reads its projection from where no other can be put in its place."""

    def __init__(self, inner: nn.Linear) -> None:
        super().__init__(inner)
        self.hidden = [self.projection]

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.scale * (x @ self.hidden[0].T)


@dataclass(frozen=True, kw_only=True)
class Behind(Strategy):
    """What lies behind the blocks: the head at a rate of its own, and the final norm if asked."""

    norm: bool

    def apply(self, model: GPTModel) -> None:
        model.final_norm.requires_grad_(self.norm)

    def param_groups(self, model: GPTModel) -> list[dict[str, Any]]:
        norm = [{"params": list(model.final_norm.parameters())}] if self.norm else []
        return [{"params": list(model.out_head.parameters()), "lr": 1e-2}, *norm]


@dataclass(frozen=True, kw_only=True)
class Regularised(Biases):
    """Adds to the loss."""

    def extra_loss(self, model: GPTModel) -> Tensor | None:
        return model.out_head.weight.square().sum()


def make_engine(position: Position = "last", allowed: Plan = ALL) -> Engine:
    config = replace(CONFIG, position=position)
    return Engine(small.pretrained(), small.dataset(), config, EngineOptions(allowed=allowed))


def variant_of(method: str | Strategy) -> Variant:
    if isinstance(method, str):
        return strategies.build_variants([method])[0]
    return Variant("of_a_test", repr(method), method)


def jobs_of(method: str | Strategy, folder: Path, runs: int = 3) -> list[Job]:
    return [Job(variant_of(method), seed, folder / str(seed)) for seed in SEEDS[:runs]]


def do_stacked(engine: Engine, jobs: list[Job]) -> Done:
    return {job.seed: outcome for job, outcome in fit_stacked(engine, jobs, lambda progress: None)}


def assert_as_alone(
    done: Done, engine: Engine, method: str | Strategy, folder: Path, *, together: bool = True
) -> None:
    assert len(done) == 2
    for seed, outcome in done.items():
        assert isinstance(outcome, Outcome), outcome
        assert_same_numbers(outcome, engine.fit(variant_of(method), seed, folder / "alone" / str(seed)))
        assert outcome.grouped == together and (outcome.peak_memory_bytes is None) == together


COMMON: list[tuple[str | Strategy, Position]] = [
    ("last_block@learning_rate=1e-3", "last"),
    ("lora@layers=2", "last_real"),
    (Biases(), "last_real"),
]
UNUSUAL: list[tuple[str | Strategy, Position]] = [
    ("last_block@learning_rate=1e-3", "last_real"),
    ("last_n_blocks@n=2+learning_rate=1e-3", "last"),
    ("last_n_blocks@n=2+learning_rate=1e-3", "last_real"),
    ("lora@layers=2", "last"),
    ("lora@layers=1", "last_real"),  # what is inserted lies in front of a frozen block
    ("lora_plus@layers=2", "last"),  # two learning rates
    ("dora@layers=2", "last_real"),
    (Behind(norm=True), "last"),
    (Behind(norm=False), "last_real"),
    (Inserts(), "last_real"),
]


@pytest.mark.parametrize(
    ("method", "position"),
    [*COMMON, *(pytest.param(*case, marks=pytest.mark.slow) for case in UNUSUAL)],
    ids=str,
)
def test_stacked_seeds_agree_with_runs_alone(
    method: str | Strategy, position: Position, tmp_path: Path
) -> None:
    engine = make_engine(position)
    done = do_stacked(engine, jobs_of(method, tmp_path, runs=2))
    assert_as_alone(done, engine, method, tmp_path)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_those_of_each_run(method: str, tmp_path: Path) -> None:
    engine = make_engine("last_real")
    runs = [prepare_run(engine, job, lambda progress: None) for job in jobs_of(method, tmp_path)]
    stack, rows = Stack(engine, runs), torch.arange(24).view(3, 8)
    with torch.no_grad():
        for parameter in stack.trained.values():  # a factor that starts at zero hides the other's gradient
            parameter.add_(0.02 * torch.randn(parameter.shape))
    stack.step(torch.optim.SGD(stack.trained.values(), lr=0.0), rows)
    for number, run in enumerate(runs):
        labels = run.forward.labels("train", rows[number])
        functional.cross_entropy(run.forward.logits("train", rows[number]), labels).backward()
        own = dict(Tail(run, engine.config.readout).named_parameters())
        for name, together in stack.trained.items():
            assert together.grad is not None and own[name].grad is not None and own[name].grad.any()
            torch.testing.assert_close(together.grad[number], own[name].grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "allowed",
    [
        replace(ALL, last_position=False),
        pytest.param(replace(ALL, merged=False, associative=False), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_stacked_seeds_follow_the_plan(allowed: Plan, tmp_path: Path) -> None:
    engine = make_engine("last_real", allowed)
    done = do_stacked(engine, jobs_of("lora@layers=2", tmp_path, runs=2))
    assert_as_alone(done, engine, "lora@layers=2", tmp_path)


def test_stacks_are_as_large_as_memory_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    prepare = stacked._prepare

    def counted(*arguments: Any) -> Any:
        found = prepare(*arguments)
        made.append(len(found.runs))
        return found

    monkeypatch.setattr(stacked, "_room", lambda device, trainable_params: 2)
    monkeypatch.setattr(stacked, "_prepare", counted)
    done = do_stacked(make_engine(), jobs_of("last_block", tmp_path))
    assert made == [2] and [done[seed].grouped for seed in SEEDS] == [True, True, False]
    assert not done[SEEDS[2]].warnings


@pytest.mark.parametrize(
    ("runs", "room", "size"), [(5, None, 5), (5, 9, 5), (5, 4, 3), (4, 2, 2), (3, 2, 2), (9, 4, 3)]
)
def test_size_of_a_stack(runs: int, room: int | None, size: int) -> None:
    assert stacked._size(runs, room) == size


def test_room_counts_weights_gradients_and_moments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1600, 9999))
    assert stacked._room("cuda:0", trainable_params=10) == 5  # 800 bytes of 160 each
    assert stacked._room("cpu", trainable_params=10) is None


def test_seed_that_diverges_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Stack.check

    def poison(self: Stack) -> None:
        check(self)
        self.runs[1].model.out_head.weight.data[0, 0] = torch.nan  # a view of the stack

    monkeypatch.setattr(Stack, "check", poison)
    engine = make_engine()
    done = do_stacked(engine, jobs_of("last_block", tmp_path))
    failed = done.pop(SEEDS[1])
    assert isinstance(failed, TrainingError) and "step 0" in str(failed)
    assert_as_alone(done, engine, "last_block", tmp_path)


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Inserts(layer="Reads"), "item()"),
        pytest.param(Inserts(layer="Hides"), "do not compute", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_stacked_is_done_alone(method: Strategy, reason: str, tmp_path: Path) -> None:
    engine = make_engine()
    done = do_stacked(engine, jobs_of(method, tmp_path, runs=2))
    assert_as_alone(done, engine, method, tmp_path, together=False)
    for outcome in done.values():
        assert "not trained together" in outcome.warnings[-1] and reason in outcome.warnings[-1]


def test_memory_that_runs_out_leaves_one_run_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Stack, optimizer: torch.optim.Optimizer, rows: Tensor) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(Stack, "step", step)
    engine = make_engine()
    done = do_stacked(engine, jobs_of("last_block", tmp_path, runs=2))
    assert_as_alone(done, engine, "last_block", tmp_path, together=False)
    assert done[123].warnings == ["not trained together with other seeds: CUDA out of memory."]


def test_only_what_stacking_keeps_exact_is_stacked(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = make_engine()

    def ways(*methods: str | Strategy, **options: Any) -> list[Way]:
        monkeypatch.setattr(engine, "options", replace(EngineOptions(), **options))
        return [way_of(engine, variant_of(method)) for method in methods]

    assert ways("last_block", "head", "all_layers") == [Way.SIDE_BY_SIDE, Way.HEADS, Way.ALONE]
    assert ways("last_block", "head", "all_layers", device="cuda") == [Way.STACKED, Way.HEADS, Way.ALONE]
    assert ways(Biases(), Regularised(), device="cuda:1") == [Way.STACKED, Way.ALONE]
    for options in ({"compile": True}, {"together": False}, {"precision": "bf16"}, {"device": "mps"}):
        assert ways("last_block", **{"device": "cuda", **options}) == [Way.ALONE]


def test_groups_are_done_in_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, seen = make_engine(), set()

    def note(progress: Progress) -> None:
        seen.add(progress.phase)

    monkeypatch.setattr(seeds, "way_of", lambda engine, variant: Way.STACKED)
    for group in groups(engine, jobs_of("last_block", tmp_path) + jobs_of(Biases(), tmp_path / "biases", 2)):
        for _, outcome in fit_group(engine, group, note):
            assert isinstance(outcome, Outcome)
    assert {"3 seeds at once", "2 seeds at once"} <= seen
