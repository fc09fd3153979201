"""What to run: flags checked before anything heavy is imported, and the identity of a run."""

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from headtohead import strategies
from headtohead.core.config import CONFIGS
from headtohead.core.data import Dataset
from headtohead.core.engine import REFERENCE, EngineOptions
from headtohead.core.errors import InputError
from headtohead.core.strategy import Variant
from headtohead.core.training import TrainConfig
from headtohead.core.weights import Pretrained
from headtohead.experiments.identity import code_hash, run_id, source_files
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.labels import strategy_labels
from headtohead.experiments.spec.output import safe_name
from headtohead.experiments.spec.presets import PRESET_RATES, PRESETS
from headtohead.experiments.spec.seeds import parse_seeds
from headtohead.strategies import DEFAULT, build_variants, discover

DATASET = cast(Dataset, SimpleNamespace(sha256="d" * 64, max_length=120))
PRETRAINED = Pretrained("124M", CONFIGS["124M"], "w" * 64, "nowhere", read=dict)


def identity(variant: Variant | None = None, **changes: Any) -> str:
    given = {
        "seed": 123,
        "config": TrainConfig(),
        "dataset": DATASET,
        "pretrained": PRETRAINED,
        "options": EngineOptions(),
        **changes,
    }
    return run_id(variant or build_variants(["lora@r=4"])[0], **given)


def test_the_defaults_are_the_books() -> None:
    experiment = Experiment()
    assert experiment.strategies == DEFAULT
    assert experiment.training.train_config() == TrainConfig()
    assert Experiment.of({}) == experiment
    assert PRESETS["book"].items() <= asdict(experiment.training).items()
    assert not PRESET_RATES["book"]


def test_seeds_keep_their_order() -> None:
    assert parse_seeds("124, 123,0") == (124, 123, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x", "'x'"),
        ("1,,2", "''"),
        ("-1", "'-1'"),
        ("1.5", "'1.5'"),
        ("7,7", "twice"),
        ("9" * 30, "2^63"),
        ("²", "'²'"),
    ],
)
def test_bad_seeds_are_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match="--seeds") as caught:
        parse_seeds(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 0}, "--epochs 0"),
        ({"batch_size": -3}, "--batch-size -3"),
        ({"max_length": 0}, "--max-length 0"),
        ({"model": "125M"}, "did you mean '124M'"),
        ({"model": "demo", "weights_dir": Path("w")}, "--weights-dir w"),
        ({"position": "lastreal"}, "did you mean 'last_real'"),
        ({"readout": "means"}, "did you mean 'mean'"),
        ({"causal_mask": "of"}, "use on or off"),
        ({"device": "gpu"}, "cuda:0"),
        ({"device": "cuda:x"}, "--device cuda:x"),
        ({"name": "a/b"}, "plain folder name"),
        ({"name": ".."}, "plain folder name"),
        ({"name": ""}, "plain folder name"),
        ({"name": "-x"}, "plain folder name"),
    ],
)
def test_a_value_that_cannot_be_run_is_one_clear_sentence(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Experiment.of(values)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_plugin_is_added_unless_it_is_named() -> None:
    plugin = [Path("far/away/mine.py")]
    assert strategy_labels("head", plugin) == ("head", "mine")
    assert strategy_labels("mine@r=2,head", plugin) == ("mine@r=2", "head")
    assert strategy_labels(None, plugin) == (*DEFAULT, "mine")


@pytest.mark.parametrize(
    ("paths", "said"),
    [(["a/head.py"], "already"), (["a/x.py", "b/x.py"], "two files"), (["my-plugin.py"], "cannot name")],
)
def test_a_plugin_whose_name_is_no_good_is_an_error(paths: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        strategy_labels(None, [Path(path) for path in paths])


def test_equal_configurations_have_equal_run_ids() -> None:
    assert identity() == identity()
    assert identity().startswith("lora@r=4-s123-")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 124},
        {"config": TrainConfig(epochs=4)},
        {"config": TrainConfig(position="last_real")},
        {"config": TrainConfig(causal=False)},
        {"dataset": SimpleNamespace(sha256="e" * 64, max_length=120)},
        {"dataset": SimpleNamespace(sha256="d" * 64, max_length=60)},
        {"pretrained": replace(PRETRAINED, sha256="v" * 64)},
        {"options": EngineOptions(device="cuda")},
        {"options": EngineOptions(precision="bf16")},
        {"options": EngineOptions(allowed=REFERENCE)},
        {"variant": build_variants(["lora@r=4"], ["lora.learning_rate=1e-3"])[0]},
    ],
)
def test_whatever_can_change_a_result_changes_the_run_id(changes: dict[str, Any]) -> None:
    assert identity(**changes) != identity()


def test_which_gpu_of_several_does_not_change_the_run_id() -> None:
    assert identity(options=EngineOptions(device="cuda:1")) == identity(options=EngineOptions(device="cuda"))


def test_code_is_the_strategys_file_and_the_helpers_that_it_imports() -> None:
    files = [path.name for path in source_files(discover()["adalora"])]
    assert files == ["adalora.py", "_peft.py"]
    assert [path.name for path in source_files(discover()["head"])] == ["head.py"]


def test_an_edited_strategy_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(strategies.FOLDER, tmp_path / "strategies"))
    monkeypatch.setattr(strategies, "FOLDER", folder)
    head, lora = (build_variants([name])[0] for name in ("head", "lora"))
    before = code_hash(head), code_hash(lora)
    (folder / "head.py").write_bytes((folder / "head.py").read_bytes() + b"# edited\n")
    assert code_hash(head) != before[0] and code_hash(lora) == before[1]
    (folder / "_peft.py").write_bytes((folder / "_peft.py").read_bytes() + b"# edited\n")
    assert code_hash(lora) != before[1]


def test_an_edited_plugin_is_another_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    variant = replace(build_variants(["head"])[0], plugin=path)
    path.write_text("a = 1")
    before = identity(variant)
    path.write_text("a = 2")
    assert identity(variant) != before


def test_a_label_becomes_a_file_name() -> None:
    assert safe_name("lora@r=4+alpha=8") == "lora@r=4+alpha=8"
    assert safe_name("x@layers=a/b:*") == "x@layers=a-b"
    assert safe_name("...") == "unnamed"
    assert len(safe_name("x" * 300)) == 80
