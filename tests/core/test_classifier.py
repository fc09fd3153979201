"""A finetuned classifier survives the disk bit by bit, and says clearly what is wrong with a damaged one."""

import json
from pathlib import Path

import pytest
import torch

from headtohead import strategies
from headtohead.core import classifier
from headtohead.core.classifier import load_classifier, main, read_info
from headtohead.core.config import CONFIGS, GPTConfig
from headtohead.core.engine import Engine, Outcome
from headtohead.core.errors import InputError
from headtohead.core.training import TrainConfig
from headtohead.core.weights import find_pretrained
from tests import small

TINY = GPTConfig(emb_dim=16, n_layers=2, n_heads=2, context_length=64)
TEXTS = ["WIN a prize now", "see you at eight", ""]


@pytest.fixture(autouse=True)
def tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CONFIGS, "demo", TINY)


def train(label: str, directory: Path, plugin: Path | None = None) -> Outcome:
    (variant,) = strategies.build_variants([label], plugins=[plugin] if plugin else [])
    engine = Engine(find_pretrained("demo", None), small.dataset(), TrainConfig(epochs=1))
    return engine.fit(variant, 123, directory)


@pytest.mark.parametrize("label", ["head", "last_block", "all_layers", "lora@r=2"])
def test_reloaded_classifier_has_the_trained_ones_logits(label: str, tmp_path: Path) -> None:
    outcome = train(label, tmp_path / "classifier")
    loaded = load_classifier(tmp_path)
    expected = outcome.test.logits
    found = loaded.logits(small.dataset().test.texts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    again = load_classifier(tmp_path / "classifier")
    assert torch.equal(found, again.logits(small.dataset().test.texts))


def test_only_what_was_trained_is_on_disk(tmp_path: Path) -> None:
    from safetensors import safe_open

    train("head", tmp_path / "classifier")
    with safe_open(str(tmp_path / "classifier" / classifier.TENSORS), "pt") as file:
        assert sorted(file.keys()) == ["out_head.bias", "out_head.weight"]
    assert read_info(tmp_path / "classifier").untrained_tensors == []


def test_classify_gives_labels_and_probabilities(tmp_path: Path) -> None:
    train("head", tmp_path / "classifier")
    loaded = load_classifier(tmp_path)
    answers = loaded.classify(TEXTS)
    probabilities = loaded.logits(TEXTS).softmax(-1)
    assert [label for label, _ in answers] == [
        ("ham", "spam")[index] for index in probabilities.argmax(-1).tolist()
    ]
    assert [value for _, value in answers] == pytest.approx(probabilities.max(-1).values.tolist())
    assert loaded.classify([]) == []


def test_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    train("head", tmp_path / "classifier")
    assert main([str(tmp_path), *TEXTS[:2]]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[2] for line in lines] == TEXTS[:2]
    assert all(
        line.split("\t")[0] in ("ham", "spam") and 0.5 <= float(line.split("\t")[1]) <= 1 for line in lines
    )
    monkeypatch.setattr("sys.stdin", io.StringIO("first\n\nsecond\n"))
    assert main([str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_errors_name_the_fix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "text"]) == 2
    assert "holds no finetuned classifier" in capsys.readouterr().err
    train("head", tmp_path / "classifier")
    tensors = tmp_path / "classifier" / classifier.TENSORS
    data = tensors.read_bytes()
    tensors.write_bytes(data[:-4] + b"\x00\x00\x00\x01")
    with pytest.raises(InputError, match="changed or damaged"):
        load_classifier(tmp_path)
    tensors.write_bytes(data)
    description = tmp_path / "classifier" / classifier.DESCRIPTION
    values = json.loads(description.read_text())
    description.write_text(json.dumps(values | {"model_sha256": "0" * 64}))
    with pytest.raises(InputError, match="trained on demo weights"):
        load_classifier(tmp_path)
    description.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(InputError, match="another version"):
        load_classifier(tmp_path)
    description.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        load_classifier(tmp_path)


PLUGIN = '''
from headtohead.core.strategy import Strategy, unfreeze


class Norm(Strategy):
    """The final norm and the head."""

    def apply(self, model):
        unfreeze(model.final_norm)
'''


def test_plugin_classifier_needs_its_file_unchanged(tmp_path: Path) -> None:
    plugin = tmp_path / "my_norm.py"
    plugin.write_text(PLUGIN)
    outcome = train("my_norm", tmp_path / "classifier", plugin)
    assert outcome.trainable_params == 2 * 16 + 2 * 16 + 2
    assert load_classifier(tmp_path).classify(["hello"])
    moved = plugin.rename(tmp_path / "moved.py")
    with pytest.raises(InputError, match="is gone"):
        load_classifier(tmp_path)
    assert load_classifier(tmp_path, plugin=moved).classify(["hello"])
    moved.write_text(PLUGIN + "\n# changed\n")
    with pytest.raises(InputError, match="was changed"):
        load_classifier(tmp_path, plugin=moved)
