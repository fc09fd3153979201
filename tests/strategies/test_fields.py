"""Meaningless hyperparameters: one sentence and exit code 2, before anything is run or written."""

import re
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import Range, annotations
from headtohead.core.strategy import Strategy
from headtohead.core.strategy_files import load_module
from headtohead.experiments import command_line
from headtohead.strategies import build_variants, discover
from headtohead.strategies.head import Head
from headtohead.strategies.layerwise_decay import LayerwiseDecay
from headtohead.strategies.lora import Lora

# Whatever a field holds: no value, a word, another script's digits, Python's ways to write numbers.
NO_NUMBERS = ("", " ", "many", "１６", "1_000", "0x10", "1e", "--4", "1/2", "\x1b[31m4", "4\x00")
NOT_FINITE = ("nan", "inf", "-inf", "1e999", "-1e300")
NOT_WHOLE = ("4.5", "nan", "inf", "1e3", "9" * 30, "9" * 5000)


def core_of(kind: Any) -> tuple[Any, list[Range]]:
    """A field's plain type and its ranges: ``Annotated[int, Range(1)] | None`` -> int."""
    if typing.get_origin(kind) is Annotated:
        plain, *rules = typing.get_args(kind)
        return plain, [rule for rule in rules if isinstance(rule, Range)]
    arguments = [item for item in typing.get_args(kind) if item is not type(None)]
    return (kind, []) if len(arguments) != 1 else core_of(arguments[0])


def meaningless_values(kind: Any, every: bool) -> list[str]:
    """Values that a field of that type refuses, by its declaration; ``every`` way to write no number, or one."""
    plain, ranges = core_of(kind)
    if plain is bool:
        return ["perhaps", "2.5"]
    words = [*NO_NUMBERS, *(NOT_WHOLE if plain is int else NOT_FINITE)]
    values = words if every else ["-1", "nan"]
    for each in ranges:
        values += ["0"] if each.least > 0 else []
        values += ["1"] if each.below == 1 else []
        values += [str(int(each.least) + 1)] if each.step > 1 else []
    return values


def declared() -> list[str]:
    """Labels of every strategy's own fields, and of the two that all have."""
    labels = []
    for name in discover():
        method = load_module(f"headtohead.strategies.{name}")
        own = vars(method).get("__annotations__", {})
        for field, kind in annotations(method).items():
            if core_of(kind)[0] in (bool, int, float) and (field in own or name == "lora"):
                labels += [f"{name}@{field}={value}" for value in meaningless_values(kind, name == "lora")]
    return labels


DECLARED = declared()
BY_HAND = """
lora@ lora@+ lora@r lora@r= lora@=4 lora@r==4 lora@r=4+r=8 lora@r=4++alpha=8 lora@rank=4 lora@R=4 @r=4 @
Lora lora@@r=4 lora@init=best lora@init= lora@bias=some lora@rslora=perhaps lora@targets= lora@targets=/
lora@targets=W_q lora@targets=W_query//W_key lora@targets=W_query/W_query lora@targets=out_head
lora@layers=/ lora@layers=0/0 lora@layers=-1 lora@layers=first lora@layers=1.5 lora@head_learning_rate=0
dora@targets=layers ia3@targets=layers.1 road@angles=3 road@angles=0 hra@r=3 hra@r=1 vblora@vectors=1
oft@block_size=1 peft@options=/ bottleneck@pfeiffer=2 lora_book@divide_by_r=maybe majority@r=1
tfidf_logreg@learning_rate=1 head@width=3
""".split()  # noqa: SIM905
MODEL = GPTConfig(emb_dim=96, n_layers=4, n_heads=4, context_length=256)
TOO_MUCH_FOR_THE_MODEL = """
lora@r=99999 lora@r=97 lora@layers=4 lora@layers=0/9 dora@r=97 adalora@init_r=97 adalora@target_r=12
adalora@target_r=20 adalora@final=0.95 adalora@warmup=0.6+final=0.5 lora_book@r=97 lora_plus@r=1000
delora@r=97 loha@r=97 lokr@r=97 miss@r=97 randlora@r=97 shira@r=49 vblora@r=97 vblora@topk=300 vera@r=385
hra@r=98 fourierft@n=9217 boft@block_size=7 oft@block_size=97 oft@block_size=36 last_n_blocks@n=5
first_n_blocks@n=99 prompt_tuning@tokens=256 prefix_tuning@tokens=257 side_tuning@reduction=7
side_tuning@reduction=97 bottleneck@width=385 parallel_adapter@width=99999 peft@type=LORRA
peft@type=LORA+options=r=0 peft@options=r=-1 peft@type=LORA+options=r=97 peft@options=hira_dropout=nan
peft@options=rank=4 peft@options=r peft@type=C3A+options=block_size=7 peft@type=PREFIX_TUNING
""".split()  # noqa: SIM905


def refused(label: str, folder: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    """The sentence with which the command refuses a label; it may not have written anything."""
    results = folder / "results"
    # The name of a field in a list: everything else about the command is as a user would have it.
    argv = ["--strategies", label, "--model", "demo", "--data", "demo", "--results-dir", str(results), *more]
    code = command_line.main(argv)
    said = capsys.readouterr().err
    assert code == command_line.EXIT_USAGE and not results.exists()
    assert said.startswith("error: ") and said.count("\n") == 1 and said[:-1].isprintable(), said
    return said


@pytest.mark.parametrize("label", [*(each for each in DECLARED if each.startswith("lora@")), *BY_HAND])
def test_a_meaningless_value_is_refused(
    label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label.partition("@")[0] in refused(label, tmp_path, capsys)


@pytest.mark.parametrize("label", [each for each in DECLARED if not each.startswith("lora@")])
def test_every_field_refuses_a_meaningless_value(label: str) -> None:
    """As the command does, of which only the part that reads labels is asked."""
    with pytest.raises(InputError) as error:
        build_variants([label])
    assert label.partition("@")[0] in str(error.value) and "\n" not in str(error.value)


def test_so_many_labels_are_tried() -> None:
    assert len({*DECLARED, *BY_HAND, *TOO_MUCH_FOR_THE_MODEL}) > 300


@pytest.mark.parametrize("label", TOO_MUCH_FOR_THE_MODEL)
def test_what_the_model_is_too_small_for_is_refused(label: str) -> None:
    with pytest.raises(InputError) as error:
        (variant,) = build_variants([label])
        assert isinstance(variant.strategy, Strategy)
        variant.strategy.check(MODEL)
    assert label.partition("@")[0] in str(error.value)


def test_the_command_refuses_it_before_it_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused("head,lora@r=99999", tmp_path, capsys)
    assert re.fullmatch(
        r"error: lora\.r=99999: must be at least 1 and at most \d+ \(the model's width\)\n", said
    )


def test_a_setting_is_held_to_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "lora.r=0" in refused("lora", tmp_path, capsys, "--set", "lora.r=0")
    assert "twice" in refused("lora", tmp_path, capsys, "--set", "lora.r=2", "--set", "lora.r=4")
    assert "lora\\x1b" in refused("lora", tmp_path, capsys, "--set", "lora\x1b.r=2")


@pytest.mark.parametrize(
    "values",
    [
        {"r": 0},
        {"r": 2.0},
        {"r": True},
        {"dropout": 1.0},
        {"learning_rate": float("nan")},
        {"init": "best"},
        {"targets": ("W_q",)},
        {"layers": (-1,)},
        {"rslora": 1},
        {"head_learning_rate": 0.0},
    ],
)
def test_strategies_made_in_code_are_held_to_their_declarations(values: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"lora\.{next(iter(values))}="):
        Lora(**values)


def test_sensible_values_pass() -> None:
    Lora(r=96, learning_rate=1, head_learning_rate=None, layers=(0, 3)).check(MODEL)
    LayerwiseDecay(decay=1.0).check(MODEL)
    assert build_variants(["lora@layers=1/2+dropout=.5+learning_rate=1E-4"])[0].strategy == Lora(
        layers=(1, 2), dropout=0.5, learning_rate=1e-4
    )


@dataclass(frozen=True, kw_only=True)
class Plain(Head):
    """An author's fields without any range; the inherited learning rate has a new default."""

    learning_rate: float = 1e-3
    strength: float = 2.0
    steps: Annotated[int, Range(2, 4)] = 3


def test_an_authors_fields_without_a_range_work_and_those_with_one_are_checked() -> None:
    assert Plain(strength=-1e12).strength == -1e12
    for values in ({"learning_rate": -1.0}, {"steps": 5}, {"strength": float("inf")}):
        with pytest.raises(InputError, match=rf"test_fields\.{next(iter(values))}="):
            Plain(**values)
