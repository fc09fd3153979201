"""A finetuned classifier survives the disk bit by bit, and says clearly what is wrong with a damaged one."""

import hashlib
import io
import json
import shutil
from pathlib import Path

import pytest
import torch

from headtohead import strategies
from headtohead.core import classifier
from headtohead.core.classifier import load_classifier, main, read_info
from headtohead.core.engine import Engine, Outcome
from headtohead.core.errors import InputError
from headtohead.core.training import TrainConfig
from headtohead.core.weights import find_pretrained
from tests import small

TEXTS = ["WIN a prize now", "see you at eight", ""]


@pytest.fixture(autouse=True)
def tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    small.use_tiny_demo(monkeypatch)


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
    description.write_text(json.dumps(values | {"schema_version": 99}))
    with pytest.raises(InputError, match="another version"):
        load_classifier(tmp_path)
    for content in ("{", "[1]", "[" * 100_000):
        description.write_text(content)
        assert main([str(tmp_path), "text"]) == 2
        assert f"{description} " in capsys.readouterr().err


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finetuned classifier, of lora for its several kinds of hyperparameters."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        small.use_tiny_demo(patch)
        train("lora@r=2", folder / "classifier")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


WRONG: list[dict[str, object]] = [
    {"max_length": 12},
    {"max_length": 0},
    {"max_length": 10**9},
    {"max_length": "24"},
    {"max_length": 24.0},
    {"readout": "middle"},
    {"readout": ["last"]},
    {"causal": "yes"},
    {"outputs": 2},
    {"label_names": []},
    {"label_names": ["ham"]},
    {"label_names": ["ham", "ham"]},
    {"label_names": "ham"},
    {"label_names": ["ham", "spam", "eggs"]},
    {"label_names": ["ham", 1]},
    {"seed": -1},
    {"seed": 2**64},
    {"seed": "x"},
    {"seed": True},
    {"hyperparameters": {"r": "two"}},
    {"hyperparameters": {"r": 2.5}},
    {"hyperparameters": {"rank": 2}},
    {"hyperparameters": []},
    {"hyperparameters": {"r": 10**9}},
    {"hyperparameters": {"r": 17}},
    {"hyperparameters": {"alpha": 0}},
    {"hyperparameters": {"learning_rate": -1}},
    {"hyperparameters": {"dropout": 2}},
    {"strategy": "majority"},
    {"strategy": "no such"},
    {"strategy": "../../evil"},
    {"strategy": "check.bench"},
    {"strategy": "\x1b[31m"},
    {"model": "125M"},
    {"model_sha256": "0" * 64},
    {"model_config": {}},
    {"model_config": {"n_heads": 4}},
    {"weights_dir": "/no/such/folder"},
    {"plugin": "/no/such/file.py"},
    {"tensors_sha256": "0" * 64},
    {"untrained_tensors": 3},
    {"unheard_of": 1},
]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("change", WRONG, ids=map(str, WRONG))
def test_a_changed_description_is_not_believed(
    run: Path, change: dict[str, object], signed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "classifier" / classifier.DESCRIPTION
    values = json.loads(path.read_text())
    for key, value in change.items():
        values[key] = values[key] | value if isinstance(value, dict) and value else value
    if signed:  # by somebody who knows how
        values["sha256"] = signature(values)
    path.write_text(json.dumps(values))
    if signed and change == {"max_length": 12}:
        assert main([str(run), "text"]) == 0  # as good a classifier as any
        return
    assert main([str(run), "text"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("error: ")
    assert output.err.rstrip("\n").isprintable()


def signature(values: dict[str, object]) -> str:
    """Written out independently of core.classifier."""
    text = json.dumps(values | {"sha256": ""}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "device", ["", "gpu", "cuda:", "cuda:-1", "cuda:\uff11", "cuda:99999", "cpu:0", "\x1b"]
)
def test_a_device_that_is_none(run: Path, device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "text", "--device", device]) == 2
    assert "error: --device " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"caf\xe9\n", "0xe9 at offset 3"), (b"", "nothing to classify"), (b"\n \n", "nothing to classify")],
)
def test_input_that_is_no_text(
    run: Path, content: bytes, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
    assert main([str(run)]) == 2
    assert words in capsys.readouterr().err


def test_a_message_is_one_line_whatever_is_in_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), "a\nb\tc\x1b[2J\udcff"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("\ta\\nb\\tc\\x1b[2J\\udcff")


def test_folders_and_files_in_the_wrong_place(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run / "classifier"
    for place in (folder / classifier.TENSORS, Path("x" * 5000), Path("a\0b"), Path("/dev/null")):
        assert main([str(place), "text"]) == 2
    for name in (classifier.TENSORS, classifier.DESCRIPTION):
        (folder / name).rename(folder / "kept")
        (folder / name).mkdir()
        assert main([str(run), "text"]) == 2
        (folder / name).rmdir()
        (folder / "kept").rename(folder / name)
    assert all(line.startswith("error: ") for line in capsys.readouterr().err.splitlines())


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
