"""The book's package and transformers + peft as contenders, each with the plain loop that everybody writes.

They start from the engine's classifier: the same pretrained weights, head, LoRA factors where the layers are the
same, and the same parameters trained. The book: "Build a Large Language Model (From Scratch)", whose package is
``llms-from-scratch`` on PyPI.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.classifier import rebuild
from headtohead.core.config import END_OF_TEXT
from headtohead.core.data import Split
from headtohead.core.engine.meter import Meter
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import LowRank, Strategy, count_parameters, trainable_parameters
from headtohead.core.training import Event, Measure, Step
from headtohead.experiments.benchmark.contender import Task, Turn

Loss = Callable[[Split, Tensor], Tensor]  # rows (B,) of a split -> their mean cross-entropy


class PlainLoop:
    """Forward, backward, AdamW with torch's defaults.

    Args:
        model: a classifier with the parameters to be trained marked.
        loss_of: computes the loss with it.
        not_compared: why its losses are not those of the others.
    """

    def __init__(self, model: nn.Module, task: Task, loss_of: Loss, not_compared: str | None = None) -> None:
        self.model, self.task, self._loss_of = model, task, loss_of
        self._not_compared = not_compared
        self._latest: Tensor | None = None
        self.meter = Meter(task.device)

    def follow(self, events: Iterable[Event]) -> None:
        strategy = self.task.variant.strategy
        assert isinstance(strategy, Strategy)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=strategy.learning_rate, weight_decay=strategy.weight_decay
        )
        self.model.train()
        for event in events:
            if isinstance(event, Step):
                optimizer.zero_grad()
                loss = self._loss_of(self.task.dataset.train, event.rows)
                loss.backward()
                optimizer.step()
                self._latest = loss.detach()
            elif isinstance(event, Measure):
                self._evaluate(event)

    @torch.no_grad()
    def _evaluate(self, event: Measure) -> None:
        self.model.eval()
        dataset = self.task.dataset
        for split, batches in ((dataset.train, event.train), (dataset.validation, event.validation)):
            sum(self._loss_of(split, rows).item() for rows in batches)
        self.model.train()

    def loss(self) -> float:
        assert self._latest is not None
        return float(self._latest)

    def describe(self, turn: Turn, disk: bool) -> None:
        turn.trainable_params = count_parameters(trainable_parameters(self.model))
        turn.not_compared = self._not_compared


# --- the same classifier in another package --------------------------------------------------------------------


def our_classifier(task: Task) -> tuple[GPTModel, set[str], dict[str, LowRank]]:
    """Our classifier before training, the names of what it trains, and its LoRA layers by name.

    Raises:
        InputError: the strategy inserts something that the peers do not have.
    """
    strategy, label = task.variant.strategy, task.variant.label
    if not isinstance(strategy, Strategy):
        raise InputError(f"--strategies {label}: nothing of the GPT is trained, so no peer has it")
    model = rebuild(task.pretrained, strategy, len(task.dataset.label_names), task.settings.seed)
    declared = strategy.low_rank(model)
    low_rank = {name: declared[module] for name, module in model.named_modules() if module in declared}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    inserted = trained - set(task.pretrained.build().state_dict()) - {"out_head.bias"}
    if not all(name.startswith(tuple(low_rank)) for name in inserted):
        raise InputError(
            f"--strategies {label}: the peers have no such layers; only strategies that choose parameters, and "
            "plain LoRA, can be compared"
        )
    return model, trained, low_rank


def copy_pretrained(
    model: nn.Module, sources: dict[str, tuple[str, ...]], task: Task, trained: set[str]
) -> None:
    """Put the pretrained weights into another package's model, and train there what ``trained`` names of ours.

    Args:
        sources: their name of a parameter -> ours, several where they fuse them.
    """
    weights = task.pretrained.build().state_dict()
    model.requires_grad_(False)
    for theirs, ours in sources.items():
        parameter, values = model.get_parameter(theirs), torch.cat([weights[name] for name in ours])
        with torch.no_grad():  # transformers keeps a block's weights as (in, out)
            parameter.copy_(values.T if values.dim() == 2 and theirs.startswith("transformer.h.") else values)
        parameter.requires_grad_(any(name in trained for name in ours))


def same_head(classifier: GPTModel) -> nn.Linear:
    """A copy of our head, to be trained."""
    head = nn.Linear(classifier.out_head.in_features, classifier.out_head.out_features)
    head.load_state_dict(classifier.out_head.state_dict())
    return head


# --- the book --------------------------------------------------------------------------------------------------


def start_book(task: Task) -> PlainLoop:
    """The book's GPTModel, with its appendix E's LinearWithLoRA for LoRA."""
    from llms_from_scratch.appendix_e import LinearWithLoRA
    from llms_from_scratch.ch04 import GPTModel as BookModel

    classifier, trained, low_rank = our_classifier(task)
    model = BookModel(asdict(task.pretrained.config))
    names = [name for name, _ in model.named_parameters() if not name.startswith("out_head")]
    copy_pretrained(model, {name: (name,) for name in names}, task, trained)
    for name, update in low_rank.items():
        # The book's layer multiplies by alpha alone, so alpha is our scale; its factors are transposed.
        layer = LinearWithLoRA(model.get_submodule(name), len(update.down), update.scale)
        with torch.no_grad():
            layer.lora.A.copy_(update.down.T)
            layer.lora.B.copy_(update.up.T)
        model.set_submodule(name, layer)
    model.out_head = same_head(classifier)
    model.to(task.device)
    return PlainLoop(model, task, _book_loss(model, task))


def _book_loss(model: nn.Module, task: Task) -> Loss:
    from llms_from_scratch.ch06 import calc_loss_batch

    def last(split: Split, rows: Tensor) -> Tensor:
        return calc_loss_batch(split.token_ids[rows], split.labels[rows], model, task.device)

    def last_real(split: Split, rows: Tensor) -> Tensor:
        logits = model(split.token_ids[rows].to(task.device))[
            torch.arange(len(rows)), split.last_position[rows]
        ]
        return F.cross_entropy(logits, split.labels[rows].to(task.device))

    return last if task.config.position == "last" else last_real


# --- transformers and peft -------------------------------------------------------------------------------------


def start_transformers(task: Task) -> PlainLoop:
    """GPT2ForSequenceClassification as it is usually run: padded to the batch's longest message, with a mask."""
    classifier, trained, low_rank = our_classifier(task)
    model = _transformers_model(task)
    copy_pretrained(model, _transformers_names(task.pretrained.config.n_layers), task, trained)
    model.score = same_head(classifier)  # theirs has no bias
    if low_rank:
        model = _with_lora(model, list(low_rank.values()))
    model.to(task.device)

    def loss(split: Split, rows: Tensor) -> Tensor:
        last = split.last_position[rows]
        longest = int(last.max()) + 1
        mask = (torch.arange(longest) <= last[:, None]).long()
        token_ids = split.token_ids[rows, :longest]
        logits = model(input_ids=token_ids.to(task.device), attention_mask=mask.to(task.device)).logits
        return F.cross_entropy(logits, split.labels[rows].to(task.device))

    return PlainLoop(model, task, loss, "one LoRA update for the fused projection" if low_rank else None)


def _transformers_names(n_layers: int) -> dict[str, tuple[str, ...]]:
    """Their name of every parameter but the head's -> ours."""
    in_block = {
        "ln_1": ("norm1",),
        "attn.c_attn": ("att.W_query", "att.W_key", "att.W_value"),
        "attn.c_proj": ("att.out_proj",),
        "ln_2": ("norm2",),
        "mlp.c_fc": ("ff.layers.0",),
        "mlp.c_proj": ("ff.layers.2",),
    }
    layers: dict[str, tuple[str, ...]] = {"ln_f": ("final_norm",)}
    for b in range(n_layers):
        for theirs, ours in in_block.items():
            layers[f"h.{b}.{theirs}"] = tuple(f"trf_blocks.{b}.{layer}" for layer in ours)
    names: dict[str, tuple[str, ...]] = {
        "transformer.wte.weight": ("tok_emb.weight",),
        "transformer.wpe.weight": ("pos_emb.weight",),
    }
    for theirs, ours in layers.items():
        parts = ("scale", "shift") if "norm" in ours[0] else ("weight", "bias")
        for part, own in zip(("weight", "bias"), parts, strict=True):
            names[f"transformer.{theirs}.{part}"] = tuple(f"{layer}.{own}" for layer in ours)
    return names


def _transformers_model(task: Task) -> Any:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    shape = task.pretrained.config
    config: Any = GPT2Config(
        vocab_size=shape.vocab_size,
        n_positions=shape.context_length,
        n_embd=shape.emb_dim,
        n_layer=shape.n_layers,
        n_head=shape.n_heads,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        resid_pdrop=0.0,
        use_cache=False,
    )
    config.num_labels, config.pad_token_id = len(task.dataset.label_names), END_OF_TEXT
    return GPT2ForSequenceClassification(config)


def _with_lora(model: Any, updates: Sequence[LowRank]) -> Any:
    from peft import LoraConfig, get_peft_model

    rank = len(updates[0].down)
    config = LoraConfig(
        task_type="SEQ_CLS",
        r=rank,
        lora_alpha=round(updates[0].scale * rank),
        target_modules=["c_attn", "c_proj", "c_fc"],
        fan_in_fan_out=True,
    )
    with warnings.catch_warnings():  # between the two libraries, and nothing that this code could change
        warnings.simplefilter("ignore", FutureWarning)
        return get_peft_model(model, config)
