"""Exported classifiers answer as the originals do in the libraries that open them; what cannot be exported says why."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from headtohead import strategies
from headtohead.core.classifier import load_classifier
from headtohead.core.engine import Engine
from headtohead.core.errors import InputError
from headtohead.core.export import export_classifier, verify
from headtohead.core.export.__main__ import main
from headtohead.core.export.messages import messages_of
from headtohead.core.export.plain import fold_head_bias
from headtohead.core.training import TrainConfig
from headtohead.core.weights import find_pretrained
from tests import small


@pytest.fixture(autouse=True)
def tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    small.use_tiny_demo(monkeypatch)


def train(label: str, directory: Path, readout: str = "last_real") -> Path:
    (variant,) = strategies.build_variants([label])
    config = TrainConfig(epochs=1, position=readout)  # type: ignore[arg-type]
    Engine(find_pretrained("demo", None), small.dataset(), config).fit(variant, 123, directory / "classifier")
    return directory


@pytest.mark.parametrize(
    "label",
    [
        "lora@r=2+learning_rate=1e-1",
        pytest.param("last_block@learning_rate=1e-2", marks=pytest.mark.slow),
        pytest.param("ia3", marks=pytest.mark.slow),
    ],
)
def test_transformers_pipeline_gives_the_same_labels(label: str, tmp_path: Path) -> None:
    from transformers import pipeline

    run = train(label, tmp_path / "run")
    folder = export_classifier(run, "transformers")
    texts = messages_of(run)
    own = load_classifier(run).classify(texts)
    found = pipeline("text-classification", model=str(folder))(texts, truncation=True)
    assert len(texts) == 20
    assert [answer["label"] for answer in found] == [name for name, _ in own]
    assert [answer["score"] for answer in found] == pytest.approx([value for _, value in own], abs=1e-4)
    about = json.loads((folder / "config.json").read_text())
    assert about["id2label"] == {"0": "ham", "1": "spam"} and about["architectures"] == [
        "GPT2ForSequenceClassification"
    ]
    assert "ham" in (folder / "README.md").read_text() and (folder / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    "label",
    [
        "lora@r=3+alpha=7+targets=W_value/layers.2+learning_rate=1e-1",
        pytest.param("lora@r=2+learning_rate=1e-1", marks=pytest.mark.slow),
        pytest.param("lora_book@r=2", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_peft_opens_the_adapter(label: str, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    run = train(label, tmp_path / "run")
    folder = export_classifier(run, "peft")
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    network = PeftModel.from_pretrained(base, folder).eval()
    texts = ["WIN a prize now", "<|endoftext|> see you at eight"]
    classifier = load_classifier(run)
    from headtohead.core.export.sequence_classifier import answers

    torch.testing.assert_close(answers(network, folder, texts), classifier.logits(texts), atol=1e-4, rtol=0)
    assert (folder / "adapter_model.safetensors").stat().st_size < 100_000


@pytest.mark.parametrize("position", ["last", "last_real", "first", "mean"])
def test_the_books_model_opens_the_weights(position: str, tmp_path: Path) -> None:
    run = train("lora@r=2+learning_rate=1e-1", tmp_path / "run", position)
    folder = export_classifier(run, "gptmodel", tmp_path / "out")
    state = load_file(folder / "model.safetensors")
    about = json.loads((folder / "config.json").read_text())
    assert about["read_at"] == position and about["label_names"] == ["ham", "spam"]
    assert {"tok_emb.weight", "trf_blocks.1.att.W_query.weight", "out_head.bias"} <= state.keys()
    assert not any("lora" in name for name in state)


@pytest.mark.parametrize(
    ("label", "to", "position", "words"),
    [
        ("head", "transformers", "last", "reads the last position .* train it with --readout last_real"),
        ("head", "peft", "last", "its attention does not see padding"),
        ("prompt_tuning", "transformers", "last_real", "cannot be merged into a plain GPTModel"),
        ("prompt_tuning", "gptmodel", "last", "cannot be merged into a plain GPTModel"),
        ("last_block", "peft", "last_real", "inserts no low-rank adapters"),
        ("lora@r=2+bias=all+learning_rate=1e-2", "peft", "last_real", "is more than low-rank adapters"),
        ("head", "onnx", "last_real", "no such format; choose one of transformers, peft, gptmodel"),
    ],
)
def test_what_cannot_be_exported_says_why(
    label: str, to: str, position: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(label, tmp_path / "run", position)
    with pytest.raises(InputError, match=words):
        export_classifier(run, to)
    assert main([str(run), "--to", to]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert [path.name for path in run.iterdir()] == ["classifier"]


def test_what_does_not_answer_alike_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("head", tmp_path / "run")
    monkeypatch.setattr(verify, "SAME", -1.0)
    with pytest.raises(InputError, match=r"differs from the classifier: 0 of 20 labels.*nothing was written"):
        export_classifier(run, "gptmodel")
    assert [path.name for path in run.iterdir()] == ["classifier"]


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    run = train("head", tmp_path / "run")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="is there already"):
        export_classifier(run, "gptmodel", tmp_path / "out")


def test_a_single_output_becomes_two(tmp_path: Path) -> None:
    (variant,) = strategies.build_variants(["head"])
    config = TrainConfig(epochs=1, position="last_real", outputs=1)
    Engine(find_pretrained("demo", None), small.dataset(), config).fit(variant, 123, tmp_path / "classifier")
    folder = export_classifier(tmp_path, "gptmodel")
    assert load_file(folder / "model.safetensors")["out_head.weight"].shape == (2, 16)
    assert export_classifier(tmp_path, "transformers").is_dir()


def test_a_heads_bias_moves_into_the_norm_or_is_refused() -> None:
    model = small.random_model()
    model.out_head = nn.Linear(model.config.emb_dim, 3)
    token_ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        expected = model(token_ids)
        fold_head_bias(model)
        torch.testing.assert_close(model(token_ids), expected, atol=1e-5, rtol=0)
        model.out_head = nn.Linear(model.config.emb_dim, 2)
        model.out_head.weight.zero_()
    with pytest.raises(InputError, match="without a bias"):
        fold_head_bias(model)
