"""The book's package and transformers + peft as contenders, each with its own plain training loop.

They start from the engine's classifier: the same pretrained weights, head, LoRA factors where the layers are the
same, and the same parameters trained. The book: "Build a Large Language Model (From Scratch)", whose package is
``llms-from-scratch`` on PyPI; its steps and evaluations are made by its own functions.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.classifier import rebuild
from headtohead.core.data import Split
from headtohead.core.engine.meter import Meter
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import LowRank, Strategy, count_parameters, trainable_parameters
from headtohead.core.training import SPLITS, Event, Measure, SplitName, Step
from headtohead.experiments.benchmark.contender import Assignment, Facts

Batch = dict[str, Tensor]  # "inputs" (B, T), "labels" (B,), and what else a contender's model is given
HEAD = ("weight", "bias")
PROJECTIONS = ("att.W_query", "att.W_key", "att.W_value")


class PlainLoop:
    """The loop that everybody writes: forward, backward, AdamW with torch's defaults.

    Args:
        model: a classifier with the parameters to be trained marked.
        assignment: data and protocol.
        batch: rows of a split -> what ``loss`` takes.
        loss: the mean cross-entropy of a batch.
        same_model: see :class:`Facts`.
    """

    def __init__(
        self,
        model: nn.Module,
        assignment: Assignment,
        batch: Callable[[Split, Tensor], Batch],
        loss: Callable[[Batch], Tensor],
        same_model: str | None = None,
    ) -> None:
        self.model = model.to(assignment.device)
        self._assignment, self._batch, self._loss_of = assignment, batch, loss
        self._splits: dict[SplitName, Split] = {name: getattr(assignment.dataset, name) for name in SPLITS}
        self.facts = Facts(count_parameters(trainable_parameters(model)), same_model)
        self._latest: Tensor | None = None
        self._meter = Meter(assignment.device)

    def follow(self, events: Iterable[Event]) -> None:
        strategy = self._assignment.variant.strategy
        assert isinstance(strategy, Strategy)
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=strategy.learning_rate, weight_decay=strategy.weight_decay
        )
        self.model.train()
        for event in events:
            if isinstance(event, Step):
                optimizer.zero_grad()
                loss = self._loss_of(self._rows("train", event.rows))
                loss.backward()
                optimizer.step()
                self._latest = loss.detach()
            elif isinstance(event, Measure):
                self._evaluate(event)

    @torch.no_grad()
    def _evaluate(self, event: Measure) -> None:
        self.model.eval()
        splits: dict[SplitName, list[Tensor]] = {"train": event.train, "validation": event.validation}
        for split, batches in splits.items():
            sum(self._loss_of(self._rows(split, rows)).item() for rows in batches)
        self.model.train()

    def _rows(self, split: SplitName, rows: Tensor) -> Batch:
        device = self._assignment.device
        return {name: values.to(device) for name, values in self._batch(self._splits[split], rows).items()}

    def loss(self) -> float:
        assert self._latest is not None
        return float(self._latest)

    def rest(self) -> None:
        self.model.zero_grad(set_to_none=True)

    def prefix_seconds(self, from_disk: bool) -> float:
        raise NotImplementedError("a plain loop computes nothing once")

    def peak_memory_bytes(self) -> int | None:
        return self._meter.peak_memory_bytes()


# --- weights under other names ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Naming:
    """How another package names GPT-2's parameters.

    Attributes:
        top: its name of a parameter outside of the blocks -> ours.
        block: the beginning of its names in block {b}.
        linears: its name of a linear layer in a block -> ours, several where it fuses them.
        norms: its name of a norm in a block -> ours.
        norm_parameters: its names of a norm's scale and shift.
        transposed: its linear weights are (in, out).
    """

    top: dict[str, str]
    block: str
    linears: dict[str, tuple[str, ...]]
    norms: dict[str, str]
    norm_parameters: tuple[str, str] = ("weight", "bias")
    transposed: bool = False

    def sources(self, n_layers: int) -> dict[str, tuple[str, ...]]:
        """Its name of every parameter but the head's -> ours."""
        names: dict[str, tuple[str, ...]] = {theirs: (ours,) for theirs, ours in self.top.items()}
        for number in range(n_layers):
            block, own = self.block.format(b=number), f"trf_blocks.{number}."
            for layer, layers in self.linears.items():
                for part in HEAD:
                    names[f"{block}{layer}.{part}"] = tuple(f"{own}{each}.{part}" for each in layers)
            for norm, ours in self.norms.items():
                for theirs, part in zip(self.norm_parameters, ("scale", "shift"), strict=True):
                    names[f"{block}{norm}.{theirs}"] = (f"{own}{ours}.{part}",)
        return names

    def translate(self, name: str, tensor: Tensor) -> Tensor:
        """A linear layer's weight in its orientation."""
        return tensor.T.contiguous() if self.transposed and tensor.dim() == 2 and ".h." in name else tensor


BOOK = Naming(
    top={name: name for name in ("tok_emb.weight", "pos_emb.weight", "final_norm.scale", "final_norm.shift")},
    block="trf_blocks.{b}.",
    linears={name: (name,) for name in (*PROJECTIONS, "att.out_proj", "ff.layers.0", "ff.layers.2")},
    norms={"norm1": "norm1", "norm2": "norm2"},
    norm_parameters=("scale", "shift"),
)
BOOK_FAST = Naming(
    top={
        "tok_emb.weight": "tok_emb.weight",
        "pos_emb.weight": "pos_emb.weight",
        "final_norm.weight": "final_norm.scale",
        "final_norm.bias": "final_norm.shift",
    },
    block="trf_blocks.{b}.",
    linears={
        "att.qkv": PROJECTIONS,
        "att.proj": ("att.out_proj",),
        "ff.layers.0": ("ff.layers.0",),
        "ff.layers.2": ("ff.layers.2",),
    },
    norms={"norm1": "norm1", "norm2": "norm2"},
)
TRANSFORMERS = Naming(
    top={
        "transformer.wte.weight": "tok_emb.weight",
        "transformer.wpe.weight": "pos_emb.weight",
        "transformer.ln_f.weight": "final_norm.scale",
        "transformer.ln_f.bias": "final_norm.shift",
    },
    block="transformer.h.{b}.",
    linears={
        "attn.c_attn": PROJECTIONS,
        "attn.c_proj": ("att.out_proj",),
        "mlp.c_fc": ("ff.layers.0",),
        "mlp.c_proj": ("ff.layers.2",),
    },
    norms={"ln_1": "norm1", "ln_2": "norm2"},
    transposed=True,
)


def copy_pretrained(model: nn.Module, naming: Naming, assignment: Assignment, trained: set[str]) -> None:
    """Put the pretrained weights into another package's model, and train there what ``trained`` names of ours."""
    pretrained = assignment.pretrained.build().state_dict()
    parameters = dict(model.named_parameters())
    model.requires_grad_(False)
    for theirs, ours in naming.sources(assignment.pretrained.config.n_layers).items():
        values = torch.cat([pretrained[name] for name in ours]) if len(ours) > 1 else pretrained[ours[0]]
        with torch.no_grad():
            parameters[theirs].copy_(naming.translate(theirs, values))
        parameters[theirs].requires_grad_(any(name in trained for name in ours))


def same_head(classifier: GPTModel) -> nn.Linear:
    """A copy of our head, to be trained."""
    head = nn.Linear(classifier.out_head.in_features, classifier.out_head.out_features)
    head.load_state_dict({part: getattr(classifier.out_head, part).detach().clone() for part in HEAD})
    return head


def our_classifier(assignment: Assignment) -> tuple[GPTModel, set[str], dict[str, LowRank]]:
    """Our classifier before training, the names of what it trains, and its LoRA layers by name.

    Raises:
        InputError: the strategy inserts something that the peers do not have.
    """
    strategy = assignment.variant.strategy
    if not isinstance(strategy, Strategy):
        raise InputError(
            f"--strategies {assignment.variant.label}: nothing of the GPT is trained, so no peer has it"
        )
    model = rebuild(assignment.pretrained, strategy, len(assignment.dataset.label_names), assignment.seed)
    declared = strategy.low_rank(model)
    low_rank = {name: declared[module] for name, module in model.named_modules() if module in declared}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    inserted = trained - set(dict(assignment.pretrained.build().named_parameters()))
    own = {f"out_head.{part}" for part in HEAD} | {
        name for name in inserted if any(name.startswith(layer) for layer in low_rank)
    }
    if inserted - own:
        raise InputError(
            f"--strategies {assignment.variant.label}: the peers have no such layers; only strategies that choose "
            "parameters, and plain LoRA, can be compared"
        )
    return model, trained, low_rank


# --- the book --------------------------------------------------------------------------------------------------


def start_book(assignment: Assignment) -> PlainLoop:
    """The book's GPTModel, with its appendix E's LinearWithLoRA for LoRA."""
    from llms_from_scratch.appendix_e import LinearWithLoRA
    from llms_from_scratch.ch04 import GPTModel as BookModel

    classifier, trained, low_rank = our_classifier(assignment)
    model = BookModel(asdict(assignment.pretrained.config))
    copy_pretrained(model, BOOK, assignment, trained)
    for name, update in low_rank.items():
        # The book's layer multiplies by alpha alone, so alpha is our scale; its factors are transposed.
        layer = LinearWithLoRA(model.get_submodule(name), len(update.down), update.scale)
        with torch.no_grad():
            layer.lora.A.copy_(update.down.T)
            layer.lora.B.copy_(update.up.T)
        _replace(model, name, layer)
    model.out_head = same_head(classifier)
    return _book_loop(model, assignment)


def start_book_fast(assignment: Assignment) -> PlainLoop:
    """The book's GPTModelFast; its fused projection gets one LoRA update where ours has three."""
    from llms_from_scratch.appendix_e import replace_linear_with_lora
    from llms_from_scratch.ch04 import GPTModelFast

    classifier, trained, low_rank = our_classifier(assignment)
    model = GPTModelFast(asdict(assignment.pretrained.config))
    copy_pretrained(model, BOOK_FAST, assignment, trained)
    for update in list(low_rank.values())[:1]:
        replace_linear_with_lora(model.trf_blocks, len(update.down), update.scale)
    model.out_head = same_head(classifier)
    return _book_loop(model, assignment, "one LoRA update for the fused projection" if low_rank else None)


def _book_loop(model: nn.Module, assignment: Assignment, same_model: str | None = None) -> PlainLoop:
    from llms_from_scratch.ch06 import calc_loss_batch

    def batch(split: Split, rows: Tensor) -> Batch:
        readout = assignment.config.readout
        at = readout.positions(split.last_position, assignment.dataset.max_length)[rows]
        return {"inputs": split.token_ids[rows], "labels": split.labels[rows], "at": at}

    def loss(batch: Batch) -> Tensor:
        if assignment.config.position == "last":
            return calc_loss_batch(batch["inputs"], batch["labels"], model, assignment.device)
        logits = model(batch["inputs"])
        return F.cross_entropy(logits[torch.arange(len(logits)), batch["at"]], batch["labels"])

    return PlainLoop(model, assignment, batch, loss, same_model)


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


# --- transformers and peft -------------------------------------------------------------------------------------


def start_transformers(assignment: Assignment) -> PlainLoop:
    """GPT2ForSequenceClassification, padded to the data set's length and read at the last position, as the book."""

    def batch(split: Split, rows: Tensor) -> Batch:
        return {"input_ids": split.token_ids[rows], "labels": split.labels[rows]}

    # No token has this number, so the last position counts as the last token.
    return _transformers_loop(assignment, batch, pad_token_id=-1)


def start_transformers_dynamic(assignment: Assignment) -> PlainLoop:
    """GPT2ForSequenceClassification as it is usually run: padded to the batch's longest message, with a mask."""

    def batch(split: Split, rows: Tensor) -> Batch:
        last = split.last_position[rows]
        longest = int(last.max()) + 1
        mask = (torch.arange(longest) <= last[:, None]).long()
        return {
            "input_ids": split.token_ids[rows, :longest],
            "attention_mask": mask,
            "labels": split.labels[rows],
        }

    return _transformers_loop(assignment, batch, pad_token_id=50256)


def _transformers_loop(
    assignment: Assignment, batch: Callable[[Split, Tensor], Batch], pad_token_id: int
) -> PlainLoop:
    classifier, trained, low_rank = our_classifier(assignment)
    model = _transformers_model(assignment, pad_token_id)
    copy_pretrained(model, TRANSFORMERS, assignment, trained)
    model.score = same_head(classifier)  # theirs has no bias
    if low_rank:
        model = _with_lora(model, list(low_rank.values()))

    def loss(batch: Batch) -> Tensor:
        labels = batch.pop("labels")
        return F.cross_entropy(model(**batch).logits, labels)

    return PlainLoop(
        model, assignment, batch, loss, "one LoRA update for the fused projection" if low_rank else None
    )


def _transformers_model(assignment: Assignment, pad_token_id: int) -> Any:
    from transformers import GPT2Config, GPT2ForSequenceClassification

    shape = assignment.pretrained.config
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
    config.num_labels = len(assignment.dataset.label_names)
    model = GPT2ForSequenceClassification(config)
    model.config.pad_token_id = pad_token_id
    return model


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
