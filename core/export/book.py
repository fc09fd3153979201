"""``--to gptmodel``: the book's GPTModel with merged weights, under the names of its own state dict."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from headtohead.core.classifier import Classifier
from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.export import card
from headtohead.core.export.plain import plain_model
from headtohead.core.export.verify import Exported
from headtohead.core.model import GPTModel

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write(folder: Path, classifier: Classifier) -> Exported:
    """Write model.safetensors, config.json and a card, and open them again.

    Raises:
        InputError: what the strategy inserted cannot be folded into weights.
    """
    if not classifier.readout.causal:
        raise InputError(
            "this classifier's attention is not causal, and the book's GPTModel always is; it cannot be exported"
        )
    model, info = plain_model(classifier), classifier.info
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    about = {
        "config": asdict(model.config),
        "label_names": info.label_names,
        "max_length": info.max_length,
        "pad_token_id": classifier.tokenizer.pad_id,
        "read_at": classifier.readout.name,
    }
    (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    card.write(folder, classifier, "pytorch", BOOK)
    return Exported("GPTModel", partial(_logits, folder, classifier))


BOOK = """\
import json, torch
from llms_from_scratch.ch04 import GPTModel  # the book's; its causal masks are no weights, hence strict=False
from safetensors.torch import load_file

about = json.load(open("FOLDER/config.json"))
model = GPTModel(about["config"])
model.out_head = torch.nn.Linear(about["config"]["emb_dim"], len(about["label_names"]))
model.load_state_dict(load_file("FOLDER/model.safetensors"), strict=False)
model.eval()
# As in chapter 6: pad the tokens of a text with pad_token_id to max_length; read_at says at which position the
# logits are taken: "last" is model(ids)[:, -1].
"""


def _logits(folder: Path, classifier: Classifier, texts: Sequence[str]) -> Tensor:
    """By a model that is built from the folder alone."""
    about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    model = GPTModel(GPTConfig(**about["config"]))
    model.out_head = nn.Linear(model.config.emb_dim, len(about["label_names"]))
    model.load_state_dict(load_file(folder / WEIGHTS))
    with torch.inference_mode():
        return replace(classifier, model=model.eval(), device="cpu").logits(texts)
