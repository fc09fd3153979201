"""What a strategy is checked on: a tiny GPT, sixteen messages, and models that were finetuned by it.

The GPT has four blocks, so that there are frozen prefixes to leave out, and weights drawn so that no bias is zero and
no scale is one: a strategy that loses one of them is found out. Everything is made once per checked strategy, when
first asked for.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headtohead.core.classifier import make_classifier, trained_names
from headtohead.core.config import GPTConfig
from headtohead.core.data import Dataset, Split
from headtohead.core.engine.forward import ReferenceForward
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, Strategy, Variant, part_of, trainable_parameters
from headtohead.core.training import Event, Step, TrainConfig, protocol, row_loaders, train
from headtohead.core.weights import Pretrained
from headtohead.core.weights.random import random_pretrained

SMALL = GPTConfig(vocab_size=211, context_length=64, emb_dim=64, n_layers=4, n_heads=4)
N_CLASSES = 2
MESSAGES = 16
LONGEST = 12  # tokens
IDLE_STEPS = 60
SHORT = 3  # steps within which everything trained must have moved
# To learn sixteen messages by heart in a few hundred steps takes larger steps than finetuning does, and how much
# larger depends on the method: these multiples of a strategy's own learning rates are tried in turn.
OVERFIT_FACTORS = (30.0, 3.0, 300.0, 3000.0, 1.0)
OVERFIT_STEPS = 200


def small_gpt(seed: int = 20) -> Pretrained:
    """The tiny GPT of all checks; another seed gives one of other weights."""
    return random_pretrained("check", SMALL, seed, "drawn for the checks", is_demo=True, spread=0.1)


@cache
def small_dataset() -> Dataset:
    """Sixteen training messages of random tokens in two classes, and eight each to validate and to test."""
    generator = torch.Generator().manual_seed(21)
    train_split, validation, test = (_split(rows, generator) for rows in (MESSAGES, 8, 8))
    source = "drawn for the checks"
    return Dataset("check", source, ("a", "b"), train_split, validation, test, LONGEST, "", {}, True, 0)


def _split(rows: int, generator: torch.Generator) -> Split:
    token_ids = torch.randint(0, SMALL.vocab_size, (rows, LONGEST), generator=generator)
    last_position = torch.randint(LONGEST // 2, LONGEST, (rows,), generator=generator)
    return Split(tuple(map(str, range(rows))), token_ids, last_position, torch.arange(rows) % N_CLASSES)


@dataclass
class Finetuned:
    """A classifier after some steps: what it held before, and which of its tensors were declared trainable."""

    model: GPTModel
    before: dict[str, Tensor]
    trained: list[str]
    unfrozen: list[str]  # what trained later although it was not declared
    generator: Tensor  # the state of torch's generator in the end


@dataclass
class Bench:
    """One strategy and what it makes of the tiny GPT."""

    variant: Variant

    @property
    def strategy(self) -> Strategy:
        """The strategy under check."""
        assert isinstance(self.variant.strategy, Strategy)
        return self.variant.strategy

    def classifier(self, seed: int) -> GPTModel:
        """A fresh classifier, nothing trained yet."""
        return classifier_of(self.strategy, seed)

    @cached_property
    def fresh(self) -> GPTModel:
        """One of seed 1 that no check changes."""
        return self.classifier(seed=1)

    @cached_property
    def disturbed(self) -> GPTModel:
        """The same with noise in all that trains: at the start, many methods compute nothing yet; also not changed."""
        return disturbed(copy.deepcopy(self.fresh))

    @cached_property
    def other(self) -> Finetuned:
        """:attr:`short` under seed 2."""
        return self.short_run(seed=2)

    @cached_property
    def idle(self) -> Finetuned:
        """After many steps at no learning rate at all: only what the strategy writes itself has changed."""
        model = self.classifier(seed=1)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        split = small_dataset().train
        self.strategy.before_training(model, 5, IDLE_STEPS // 5)
        scheduled = type(self.strategy).after_step is not Strategy.after_step
        for step in range(IDLE_STEPS if scheduled or has_own_modules(model) else 1):
            model.train()
            logits = model.class_logits(split.token_ids[:2, :4], split.last_position[:2].clamp(max=3))
            if scheduled:
                loss_of(model, self.strategy, logits, split.labels[:2]).backward()
                self.strategy.after_step(model, step)
        model.zero_grad(set_to_none=True)
        return Finetuned(model.eval(), before, [], [], torch.get_rng_state())

    @cached_property
    def short(self) -> Finetuned:
        """After a few steps under seed 1, without weight decay: only gradients move anything."""
        return self.short_run(seed=1)

    def short_run(self, seed: int) -> Finetuned:
        """A few steps of one epoch each; a strategy with a schedule gets one more per block and for the embeddings."""
        scheduled = type(self.strategy).after_step is not Strategy.after_step
        epochs = max(SHORT, SMALL.n_layers + 2) if scheduled else SHORT
        return self._finetune(seed, epochs, factor=1.0, weight_decay=0.0)

    @cached_property
    def learned(self) -> tuple[Finetuned, float, int] | None:
        """A classifier that knows the sixteen messages by heart, at which factor, after how many steps."""
        for factor in OVERFIT_FACTORS:
            finetuned = self._finetune(1, OVERFIT_STEPS, factor, None, until=decided)
            if knows_all(finetuned.model):
                return finetuned, factor, self._steps
        return None

    def _finetune(
        self,
        seed: int,
        epochs: int,
        factor: float,
        weight_decay: float | None,
        until: Callable[[GPTModel, int], bool] = lambda model, steps: False,
    ) -> Finetuned:
        """Train as a run does, all messages in every step.

        Args:
            seed: of the head, the strategy and the training.
            epochs: of one step each.
            factor: what the learning rates are multiplied by.
            weight_decay: instead of the strategy's own; None keeps that.
            until: asked after every tenth step, with the steps so far; True ends the training.
        """
        model = self.classifier(seed)
        # A tensor that several layers share has a name in each of them.
        everything = model.named_parameters(remove_duplicate=False)
        trained = [name for name, parameter in everything if parameter.requires_grad]
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        config = TrainConfig(epochs, MESSAGES, 10**9, 1, position="last_real")
        torch.manual_seed(seed)
        optimizer = self._optimizer(model, factor, weight_decay)
        loaders = row_loaders(small_dataset(), config.batch_size)
        self.strategy.before_training(model, epochs, 1)
        unfrozen = trained_names(model) - set(trained)
        forward = ReferenceForward(model, small_dataset(), config, "cpu")
        events = _until(protocol(loaders, config), model, until)
        self._steps = train(model, self.strategy, forward, optimizer, events, epochs).steps
        model.zero_grad(set_to_none=True)
        unfrozen |= trained_names(model) - set(trained)
        return Finetuned(model, before, trained, sorted(unfrozen), torch.get_rng_state())

    def _optimizer(self, model: GPTModel, factor: float, weight_decay: float | None) -> torch.optim.Optimizer:
        defaults = {"lr": self.strategy.learning_rate, "weight_decay": self.strategy.weight_decay}
        groups: list[dict[str, Any]] = [defaults | group for group in self.strategy.param_groups(model)]
        for group in groups:
            group["lr"] *= factor
            if weight_decay is not None:
                group["weight_decay"] = weight_decay
        return torch.optim.AdamW(groups)


def _until(
    events: Iterator[Event], model: GPTModel, enough: Callable[[GPTModel, int], bool]
) -> Iterator[Event]:
    """The steps alone, until it is enough."""
    for event in events:
        if isinstance(event, Step):
            yield event
            if event.moment.step % 10 == 9:
                model.eval()
                done = enough(model, event.moment.step + 1)
                model.train()
                if done:
                    return


def classifier_of(strategy: Strategy, seed: int, pretrained: Pretrained | None = None) -> GPTModel:
    """A fresh classifier on the tiny GPT, or on another one."""
    model = (pretrained or small_gpt()).build()
    make_classifier(model, strategy, N_CLASSES, seed)
    return model.eval()


def disturbed(model: GPTModel) -> GPTModel:
    """``model`` with noise added, in place, to all that trains; always the same noise."""
    generator = torch.Generator().manual_seed(24)
    with torch.no_grad():
        for parameter in trainable_parameters(model):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def has_own_modules(model: GPTModel) -> bool:
    """Whether there are modules of neither this model, torch nor PEFT, which may do anything when called."""
    known = ("torch.", "peft.", "headtohead.core.")
    return not all(type(module).__module__.startswith(known) for module in model.modules())


def loss_of(model: GPTModel, strategy: Strategy, logits: Tensor, labels: Tensor) -> Tensor:
    """What a step of training minimises."""
    loss, extra = F.cross_entropy(logits, labels), strategy.extra_loss(model)
    return loss if extra is None else loss + extra


def logits_of(model: GPTModel) -> Tensor:
    """Class logits (16, 2) of the training messages."""
    split = small_dataset().train
    with torch.no_grad():
        return model.class_logits(split.token_ids, split.last_position)


def knows_all(model: GPTModel) -> bool:
    """Whether all sixteen messages are classified right."""
    return _known(model) == MESSAGES


def decided(model: GPTModel, steps: int) -> bool:
    """Whether all are, or so few after many steps that another learning rate is tried sooner."""
    return knows_all(model) or (steps >= OVERFIT_STEPS // 3 and _known(model) < 3 * MESSAGES // 4)


def _known(model: GPTModel) -> int:
    return int((logits_of(model).argmax(dim=-1) == small_dataset().train.labels).sum())


def real_counts(config: GPTConfig, strategy: Strategy, device: str) -> Counts:
    """What a strategy really trains of a model of that shape, by part; on the device "meta" without any weights."""
    with torch.device(device):
        model = GPTModel(config)
        make_classifier(model, strategy, N_CLASSES, seed=0)
    return counts_of(model)


def counts_of(model: GPTModel) -> Counts:
    """How many numbers train in which part of a model."""
    counts: Counts = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            counts[part_of(name)] = counts.get(part_of(name), 0) + parameter.numel()
    return counts


def largest_difference(first: Tensor, second: Tensor) -> float:
    """The largest absolute difference of two tensors; infinite where one of them holds no number."""
    difference = float((first - second).abs().max())
    return math.inf if math.isnan(difference) else difference
