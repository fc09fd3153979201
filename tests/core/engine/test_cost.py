"""Work of a step against its closed form, latency, and the machine's energy counters."""

from pathlib import Path

import pytest
import torch

from headtohead.core.engine import CostMeter, Engine
from headtohead.core.engine.cost import step_flops
from headtohead.core.engine.energy import Reading, joules_between, read_counters
from headtohead.core.model import GPTModel
from headtohead.core.training import TrainConfig
from headtohead.strategies import build_variants
from tests import small

RANK = 16


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(small.pretrained(), small.dataset(), TrainConfig(epochs=1))


def closed_form(label: str, engine: Engine) -> float:
    """FLOPs of one step by hand: B messages of T tokens, D dims, L blocks, C classes.

    A token's products in a block are 24 D^2 (query, key, value, projection: 8; perceptron: 16), its attention 4 T D. A
    backward pass takes as much for what flows back through a product and as much again for its weights.
    """
    config, B, T = engine.pretrained.config, engine.config.batch_size, engine.dataset.max_length
    D, L = config.emb_dim, config.n_layers
    products, attention = 24 * D**2 * B * T, 4 * T * D * B * T
    block, head = products + attention, 2 * D * engine.n_classes * B
    forward = L * block + head
    if label == "head":
        return forward + head  # its weights alone
    if label == "last_block":
        return forward + 2 * block + 2 * head
    if label == "all_layers":
        return 3 * forward
    # LoRA: no weights of the block, but all that flows back, save into the first block's query, key and value (6 D^2);
    # low-rank products with both of their backward passes.
    ends = 4 * (D + D) + 2 * (D + 4 * D)  # of the six layers, input and output
    low_rank = 2 * RANK * ends * B * T * L
    return forward + L * (products + 2 * attention) - 6 * D**2 * B * T + 2 * head + 3 * low_rank


@pytest.mark.parametrize("label", ["head", "last_block", "all_layers", "lora"])
def test_the_counter_agrees_with_the_closed_form(label: str, engine: Engine) -> None:
    (variant,) = build_variants([label])
    counted = CostMeter(engine).of(variant).flops_per_step
    assert counted == pytest.approx(closed_form(label, engine), rel=0.02)


def test_counting_from_shapes_gives_what_a_real_step_gives(engine: Engine) -> None:
    (variant,) = build_variants(["dora"])
    meter = CostMeter(engine)
    seen: list[float] = []

    def ask(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        seen.append(inputs[0].sum().item())  # what shapes alone do not tell

    def needs_values() -> GPTModel:
        model = meter._fresh(variant.strategy)  # type: ignore[arg-type]
        model.final_norm.register_forward_pre_hook(ask)
        return model

    real = step_flops(needs_values, variant.strategy, meter._batch())  # type: ignore[arg-type]
    assert len(seen) == 1
    assert meter.of(variant).flops_per_step == real


def test_models_put_together_alike_share_a_latency_and_merging_has_its_own(engine: Engine) -> None:
    head, block, lora = build_variants(["head", "last_block", "lora"])
    meter = CostMeter(engine)
    assert meter.of(head).latency is meter.of(block).latency
    costs = meter.of(lora)
    assert costs.merged is meter.of(head).latency  # a merged LoRA is a plain GPT
    assert costs.latency is not None and costs.merged is not None and costs.problem is None
    assert (
        costs.latency.one > 0 and costs.latency.batch is not None and costs.latency.batch > costs.latency.one
    )


def test_what_cannot_be_measured_is_said_and_ends_nothing(engine: Engine) -> None:
    (variant,) = build_variants(["vera"])
    costs = CostMeter(engine).of(variant)
    assert costs.latency is None and "vera.r=256" in str(costs.problem)


def test_processors_are_read_without_their_parts_and_across_a_restart(tmp_path: Path) -> None:
    for name, used in (
        ("intel-rapl:0", 7_000_000),
        ("intel-rapl:0:0", 1_000_000),
        ("intel-rapl:1", 2_000_000),
    ):
        zone = tmp_path / name
        zone.mkdir()
        (zone / "energy_uj").write_text(f"{used}\n")
        (zone / "max_energy_range_uj").write_text("10000000\n")
    before = read_counters("cpu", tmp_path)
    assert before == [Reading(7.0, 10.0), Reading(2.0, 10.0)]
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("1500000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("2500000\n")
    assert joules_between(before, read_counters("cpu", tmp_path)) == pytest.approx(4.5 + 0.5)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()  # as where only root may read it
    assert read_counters("cpu", tmp_path) == []
    assert joules_between([], []) is None
