"""``--to transformers``: a folder for GPT2ForSequenceClassification, with merged weights, tokenizer and card.

Its classifier reads the last token that is no padding, through attention that does not see padding, from a head
without a bias: the first is the readout ``last_real``, the second follows from it, the third is seen to here.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headtohead.core.classifier import Classifier
from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.export import card
from headtohead.core.export.plain import fold_head_bias, plain_model
from headtohead.core.export.tokenizer import save_tokenizer
from headtohead.core.export.verify import Exported
from headtohead.core.weights.huggingface import PREFIX, name_map
from headtohead.core.weights.layout import join_parameters
from headtohead.core.weights.pretrained import Tensors


def write(folder: Path, classifier: Classifier) -> Exported:
    """Write the folder and open it again.

    Raises:
        InputError: this classifier computes something that GPT2ForSequenceClassification does not.
    """
    check_readout(classifier)
    model = plain_model(classifier)
    fold_head_bias(model)
    state = model.state_dict()
    network = sequence_classifier(model.config, state, classifier)
    network.score.weight.data.copy_(state["out_head.weight"])
    network.save_pretrained(folder)
    save_tokenizer(folder, classifier)
    card.write(folder, classifier, "transformers", TRANSFORMERS)
    return Exported("transformers", partial(_logits, folder))


TRANSFORMERS = """\
from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER")
print(classify(["You won a prize, call now", "see you at eight"], truncation=True))
"""


def check_readout(classifier: Classifier) -> None:
    """InputError unless the classifier reads what transformers' does."""
    readout = classifier.readout
    if not readout.causal:
        raise InputError(
            "this classifier's attention is not causal, and transformers' GPT-2 always is; it cannot be exported"
        )
    if readout.name != "last_real":
        raise InputError(
            f"this classifier reads {readout.words}, but transformers' reads the last real token and its "
            "attention does not see padding; export it with --to gptmodel, or train it with --readout last_real"
        )


def sequence_classifier(config: GPTConfig, state: Tensors, classifier: Classifier) -> Any:
    """GPT2ForSequenceClassification with the values of a plain GPTModel; its head is left as it was drawn.

    Args:
        state: by GPTModel's names.
    """
    from transformers import GPT2ForSequenceClassification

    network = GPT2ForSequenceClassification(network_config(config, classifier)).eval()
    values = {
        f"{PREFIX}{name}": join_parameters([state[each] for each in parameters], layout)
        for name, (layout, parameters) in name_map(config).items()
    }
    loaded = network.load_state_dict(values, strict=False)
    assert loaded.missing_keys == ["score.weight"] and not loaded.unexpected_keys, loaded
    return network


def network_config(config: GPTConfig, classifier: Classifier) -> Any:
    """transformers' configuration of such a network, with the names of the classes."""
    from transformers import GPT2Config

    names, tokenizer = classifier.info.label_names, classifier.tokenizer
    return GPT2Config(
        vocab_size=config.vocab_size,
        n_positions=config.context_length,
        n_embd=config.emb_dim,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        resid_pdrop=config.drop_rate,
        embd_pdrop=config.drop_rate,
        attn_pdrop=config.drop_rate,
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.end_id,
        eos_token_id=tokenizer.end_id,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )


def _logits(folder: Path, texts: Sequence[str]) -> Tensor:
    from transformers import AutoModelForSequenceClassification

    return answers(AutoModelForSequenceClassification.from_pretrained(folder).eval(), folder, texts)


def answers(network: Any, folder: Path, texts: Sequence[str]) -> Tensor:
    """A network's class logits (N, C) of texts, by the tokenizer in the folder."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        logits: Tensor = network(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    return logits
