"""``--to peft``: the low-rank adapters alone, for PEFT on transformers' GPT2ForSequenceClassification.

There, queries, keys and values are one layer. Adapters of the three with factors A_i (r, D) and B_i (D, r) are one of
that layer: A = the A_i below each other (3r, D), B = the B_i along a diagonal (3D, 3r). Scales go into B.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headtohead.core.classifier import Classifier
from headtohead.core.errors import InputError
from headtohead.core.export import card
from headtohead.core.export.plain import fold_head_bias, plain_model
from headtohead.core.export.sequence_classifier import answers, check_readout, sequence_classifier
from headtohead.core.export.tokenizer import save_tokenizer
from headtohead.core.export.verify import Exported
from headtohead.core.strategy import LowRank
from headtohead.core.weights import Pretrained
from headtohead.core.weights.hub import repository_of
from headtohead.core.weights.huggingface import BLOCK_NAMES, PREFIX

OTHERS = ("final_norm.scale", "final_norm.shift", "out_head.weight", "out_head.bias")  # saved whole
BASE = "base"


def write(folder: Path, classifier: Classifier) -> Exported:
    """Write the adapter, and the base model where the Hub has none of that name; open them again.

    Raises:
        InputError: the classifier is more than low-rank adapters and a head, or is read in another way.
    """
    from peft import LoraConfig, get_peft_model

    check_readout(classifier)
    model = plain_model(classifier)
    updates = _updates(classifier)
    fold_head_bias(model)
    factors = _joined(updates, classifier)
    network = _base_network(classifier)
    repository = repository_of(classifier.pretrained)
    if repository is None:
        network.save_pretrained(folder / BASE)
    ranks = {name: len(down) for name, (down, _) in factors.items()}
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=max(ranks.values()),
        lora_alpha=max(ranks.values()),
        rank_pattern=ranks,
        alpha_pattern=ranks,  # alpha = r: the scale is in the factors
        target_modules=list(factors),
        fan_in_fan_out=True,  # transformers stores these weights transposed
        modules_to_save=["ln_f", "score"],
    )
    network.name_or_path = repository or BASE
    with _between_libraries():
        adapted = get_peft_model(network, config)
    _fill(adapted, factors, model.final_norm, model.out_head)
    adapted.save_pretrained(
        str(folder), save_embedding_layers=False
    )  # else it asks the Hub whether they changed
    save_tokenizer(folder, classifier)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's own is a form to be filled in
    base = f'"{repository}"' if repository else f'"FOLDER/{BASE}"'
    card.write(folder, classifier, "peft", PEFT.format(base=base, classes=len(classifier.info.label_names)))
    return Exported("PEFT", partial(_logits, folder, classifier))


PEFT = """\
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

base = AutoModelForSequenceClassification.from_pretrained({base}, num_labels={classes})
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
base.config.pad_token_id = tokenizer.pad_token_id
model = PeftModel.from_pretrained(base, "FOLDER")
batch = tokenizer(["You won a prize, call now"], padding=True, truncation=True, return_tensors="pt")
print(model(**batch).logits.softmax(-1))
"""


def _base_network(classifier: Classifier) -> Any:
    pretrained = classifier.pretrained
    return sequence_classifier(pretrained.config, pretrained.read(), classifier)


def _updates(classifier: Classifier) -> dict[str, LowRank]:
    """The low-rank updates of linear layers in blocks by the layer's name; all else must be pretrained, or the head.

    Raises:
        InputError: there are none, or something else was trained.
    """
    model, pretrained = classifier.model, classifier.pretrained
    places = {module: name for name, module in model.named_modules()}
    declared = {places[module]: update for module, update in classifier.strategy.low_rank(model).items()}
    blocks = {name: update for name, update in declared.items() if name.startswith("trf_blocks.")}
    label = classifier.info.label
    if not blocks:
        raise InputError(
            f"{label} inserts no low-rank adapters, so there is no adapter to write; use --to transformers"
        )
    if changed := _changed(classifier, declared, pretrained):
        raise InputError(
            f"{label} is more than low-rank adapters: its {changed} is not the pretrained one; use --to transformers"
        )
    return blocks


def _changed(classifier: Classifier, declared: Mapping[str, LowRank], pretrained: Pretrained) -> str | None:
    """The first tensor that neither is pretrained nor belongs to an adapter, the final norm or the head."""
    state = classifier.model.state_dict(keep_vars=True)
    bases = {}
    for name, update in declared.items():
        bases[f"{name}.weight"], bases[f"{name}.bias"] = update.base.weight, update.base.bias
    for name, tensor in pretrained.read().items():
        own = bases.get(name, state.get(name))
        if name not in OTHERS and (own is None or not torch.equal(own.cpu(), tensor)):
            return name
    return None


def _joined(updates: Mapping[str, LowRank], classifier: Classifier) -> dict[str, tuple[Tensor, Tensor]]:
    """transformers' name of each layer -> the factors (r, in) and (out, r) of its one update."""
    factors = {}
    for block in range(classifier.model.config.n_layers):
        for name, (_, parameters) in BLOCK_NAMES.items():
            layers = [f"trf_blocks.{block}.{each.removesuffix('.weight')}" for each in parameters]
            present = [updates.get(layer) for layer in layers]
            if name.endswith(".weight") and any(present):
                factors[f"{PREFIX}h.{block}.{name.removesuffix('.weight')}"] = _one_update(present)
    return factors


@torch.no_grad()
def _one_update(parts: Sequence[LowRank | None]) -> tuple[Tensor, Tensor]:
    """Updates of layers that are one layer in transformers, as one; None where a layer has none."""
    width = next(len(part.up) for part in parts if part is not None)
    downs, ups = [], []
    for part in parts:
        downs.append(part.down if part is not None else torch.zeros(0, 0))
        ups.append(part.scale * part.up if part is not None else torch.zeros(width, 0))
    return torch.cat([down for down in downs if len(down)]).contiguous(), torch.block_diag(*ups)


@torch.no_grad()
def _fill(
    adapted: Any, factors: Mapping[str, tuple[Tensor, Tensor]], norm: nn.Module, head: nn.Linear
) -> None:
    """Put the trained values into the network with PEFT's layers."""
    network = adapted.base_model.model
    for name, (down, up) in factors.items():
        layer = network.get_submodule(name)
        layer.lora_A["default"].weight.copy_(down)
        layer.lora_B["default"].weight.copy_(up)
    final = network.transformer.ln_f.modules_to_save["default"]
    final.weight.copy_(norm.scale)
    final.bias.copy_(norm.shift)
    network.score.modules_to_save["default"].weight.copy_(head.weight)


def _logits(folder: Path, classifier: Classifier, texts: Sequence[str]) -> Tensor:
    """By PEFT from the folder, on the base model."""
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    base = folder / BASE
    network = (
        AutoModelForSequenceClassification.from_pretrained(base)
        if base.is_dir()
        else _base_network(classifier)
    )
    with _between_libraries():
        adapted = PeftModel.from_pretrained(network, folder).eval()
    return answers(adapted, folder, texts)


@contextmanager
def _between_libraries() -> Iterator[None]:
    """PEFT asks transformers for an attribute of which transformers says that it will go: no news to the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
