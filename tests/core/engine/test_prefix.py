"""Hidden states of frozen stages: computed once, kept in memory, in a mapped file, or on disk for later."""

import os
from pathlib import Path

import pytest
import torch

from headtohead import strategies
from headtohead.core.engine import Engine, EngineOptions
from headtohead.core.engine.mapped import MappedFile
from headtohead.core.engine.prefix import HIDDEN, PrefixCache
from headtohead.core.engine.sequences import distinct_sequences
from headtohead.core.model import GPTModel
from headtohead.core.training import TrainConfig
from tests import small

SEQUENCES = distinct_sequences(small.dataset(), TrainConfig())
L = small.CONFIG.n_layers


def cache(**options: object) -> PrefixCache:
    return PrefixCache(SEQUENCES, L, small.CONFIG.emb_dim, "weights", **options)  # type: ignore[arg-type]


def nothing(done: int, total: int) -> None:
    """No progress is shown."""


def expected(cut: int) -> torch.Tensor:
    """The hidden states by the model's own modules."""
    model, rows = small.random_model(), SEQUENCES.token_ids.view(len(SEQUENCES), -1)
    with torch.no_grad():
        hidden = model.embed(rows)
        for block in list(model.trf_blocks)[: min(cut - 1, L)]:
            hidden = block(hidden)
        if cut == L + 2:
            hidden = model.final_norm(hidden)
    return hidden[:, -1] if cut > L else hidden.flatten(0, 1)


def never() -> GPTModel:
    raise AssertionError("computed although it is there")


@pytest.mark.parametrize("cut", [2, L, L + 1, L + 2])
def test_hidden_states_are_the_models(cut: int) -> None:
    stored = cache().get(cut, [], small.random_model, nothing)
    torch.testing.assert_close(stored.hidden, expected(cut), atol=1e-4, rtol=1e-4)


def test_one_pass_serves_every_cut_that_is_needed() -> None:
    states = cache()
    states.get(2, [L, L + 2], small.random_model, nothing)
    for cut in (2, L, L + 2):
        torch.testing.assert_close(
            states.get(cut, [], never, nothing).hidden, expected(cut), atol=1e-4, rtol=1e-4
        )


def test_small_budget_maps_a_file() -> None:
    states = cache(budget=1000)
    stored = states.get(L, [], small.random_model, nothing)
    assert "memory-mapped" in stored.words
    torch.testing.assert_close(stored.hidden, expected(L), atol=1e-4, rtol=1e-4)


def test_folder_serves_the_next_process_and_heals(tmp_path: Path) -> None:
    first = cache(folder=tmp_path).get(L, [], small.random_model, nothing)
    second = cache(folder=tmp_path).get(L, [], never, nothing)
    assert torch.equal(first.hidden, second.hidden) and "read from" in second.words
    (file,) = tmp_path.glob(f"*/{HIDDEN}")
    damaged = bytearray(file.read_bytes())
    damaged[100] ^= 1
    file.write_bytes(damaged)
    third = cache(folder=tmp_path).get(L, [], small.random_model, nothing)
    torch.testing.assert_close(third.hidden, expected(L), atol=1e-4, rtol=1e-4)


def test_folder_forgets_what_was_used_longest_ago(tmp_path: Path) -> None:
    limit = cache().size(L) + 10_000
    cache(folder=tmp_path, limit=limit).get(L, [], small.random_model, nothing)
    (old,) = tmp_path.iterdir()
    os.utime(old / "hidden.sha256", (1, 1))
    cache(folder=tmp_path, limit=limit).get(2, [], small.random_model, nothing)
    (left,) = tmp_path.iterdir()
    assert left != old


def test_what_exceeds_the_folder_is_declined_with_the_reason(tmp_path: Path) -> None:
    assert "exceed the cache folder's limit" in str(cache(folder=tmp_path, limit=1000).why_not(L))


@pytest.mark.parametrize("options", [{"cache_budget": 1000}, {"cache_dir": "cache"}])
def test_runs_give_the_same_numbers_wherever_the_states_lie(
    options: dict[str, object], tmp_path: Path
) -> None:
    (variant,) = strategies.build_variants(["last_block"])
    if "cache_dir" in options:
        options = {"cache_dir": tmp_path / "cache"}
    config = TrainConfig(epochs=1)
    plain = Engine(small.pretrained(), small.dataset(), config).fit(variant, 123, tmp_path / "plain")
    for name in ("first", "again"):
        engine = Engine(small.pretrained(), small.dataset(), config, EngineOptions(**options))  # type: ignore[arg-type]
        outcome = engine.fit(variant, 123, tmp_path / name)
        assert torch.equal(outcome.test.logits, plain.test.logits)


def test_a_mapped_file_keeps_what_was_handed_back(tmp_path):
    mapped = MappedFile(tmp_path / "hidden", (1000, 64))
    values = torch.randn(1000, 64)
    mapped.tensor[:] = values
    mapped.release()
    assert torch.equal(mapped.tensor, values)
    assert torch.equal(MappedFile(tmp_path / "hidden", (1000, 64)).tensor, values)


def test_a_prefix_over_its_budget_is_mapped_and_reads_the_same(tmp_path):
    (variant,) = strategies.build_variants(["last_block"])
    engines = [
        Engine(small.pretrained(), small.dataset(48, 16), TrainConfig(epochs=1), options)
        for options in (EngineOptions(), EngineOptions(cache_budget=1))
    ]
    kept, mapped = (engine.fit(variant, 1, tmp_path / "classifier") for engine in engines)
    assert "memory-mapped" in " ".join(mapped.plan["words"]) and "in memory" in " ".join(kept.plan["words"])
    assert torch.equal(kept.test.logits, mapped.test.logits)
