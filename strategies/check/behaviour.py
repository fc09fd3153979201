"""Checks of what a strategy computes: its gradients, its random numbers, what it reads, and whether it does anything.

All of them look at the classifier with noise in everything that trains, because most methods begin as nothing at all.
"""

import copy
import inspect
from dataclasses import fields, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.classifier import trained_names
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Strategy, part_of
from headtohead.strategies._catalogue import read_notes
from headtohead.strategies.check.bench import (
    SMALL,
    Bench,
    classifier_of,
    disturbed,
    largest_difference,
    logits_of,
    loss_of,
    small_dataset,
    small_gpt,
)
from headtohead.strategies.check.findings import CheckFailed, Finding, named

EFFECT = 1e-4  # of the largest logit: the least that what trains in a block must be able to change
GRADIENT = 1e-3  # of a gradient's length: the most by which it may differ from the slope of the loss
STEPS = (1e-5, 1e-7, 1e-4, 1e-3)
ROWS = 4


def keeps_its_rates(bench: Bench) -> Finding:
    """param_groups holds every trained parameter once, at the learning rate and weight decay that are declared."""
    model, strategy = bench.fresh, bench.strategy
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    left = trained_names(model)
    for group in strategy.param_groups(model):
        for name in (
            names.get(id(parameter), "a tensor that is not the model's") for parameter in group["params"]
        ):
            if name not in left:
                raise CheckFailed(f"param_groups holds {name}, which is not trained or is there twice")
            left.remove(name)
            declared = {
                "lr": strategy.learning_rate_of(name, SMALL),
                "weight_decay": strategy.weight_decay_of(name),
            }
            for key, plain in (("lr", strategy.learning_rate), ("weight_decay", strategy.weight_decay)):
                if group.get(key, plain) != declared[key]:
                    found = f"{key}={group.get(key, plain):g} for {name}"
                    raise CheckFailed(f"param_groups has {found}, and {declared[key]:g} is declared")
    if left:
        raise CheckFailed(f"param_groups leaves out {named(sorted(left))}")
    return Finding("passed")


def every_seed_is_its_own(bench: Bench) -> Finding:
    """Random numbers follow from the run's seed; what is the same in every run is said in the docstring's "Seeds:"."""
    second = bench.classifier(seed=2)
    after_second = torch.get_rng_state()
    # Other weights and another seed: what is still the same comes from neither.
    other = classifier_of(bench.strategy, 1, small_gpt(seed=23))
    if torch.equal(torch.get_rng_state(), after_second):
        raise CheckFailed(
            "apply leaves torch's generator in the same state whatever the seed: it sets a fixed seed"
        )
    if torch.equal(bench.short.generator, bench.other.generator):
        raise CheckFailed(
            "training leaves torch's generator in the same state whatever the seed: a seed is fixed"
        )
    one, two = ({**dict(each.named_parameters()), **dict(each.named_buffers())} for each in (second, other))
    same = [name for name, tensor in one.items() if _looks_drawn(tensor) and torch.equal(tensor, two[name])]
    if same and "Seeds" not in read_notes(inspect.getdoc(type(bench.strategy)) or ""):
        raise CheckFailed(f"{named(same)} looks drawn, and is the same under every seed")
    return Finding("passed", f"the same in all, as declared: {named(same)}" if same else "")


def _looks_drawn(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and len(tensor.unique()) > max(2, tensor.numel() // 4)


def has_an_effect(bench: Bench) -> Finding:
    """In every part of the model, what is trained can change the logits."""
    model, start = copy.deepcopy(bench.disturbed), bench.fresh.state_dict()
    expected = logits_of(model)
    parts: dict[int | str, list[tuple[str, nn.Parameter]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parts.setdefault(part_of(name), []).append((name, parameter))
    least = EFFECT * max(1.0, float(expected.abs().max()))
    for part, parameters in parts.items():
        kept = [parameter.detach().clone() for _, parameter in parameters]
        with torch.no_grad():
            for name, parameter in parameters:
                parameter.copy_(start[name])
            difference = largest_difference(logits_of(model), expected)
            for (_, parameter), value in zip(parameters, kept, strict=True):
                parameter.copy_(value)
        if difference < least:
            where = f"block {part}" if isinstance(part, int) else part
            raise CheckFailed(
                f"whatever is trained in {where} hardly changes the logits: by {difference:.2g} for changes of 0.1"
            )
    return Finding("passed", f"{len(parts)} parts")


def gradients_are_complete(bench: Bench) -> Finding:
    """The gradient of every part is the slope of the loss, the strategy's own term included."""
    if not bench.strategy.exact_gradients:
        return Finding("skipped", "declares that its gradients are not the loss's slope")
    model = copy.deepcopy(bench.disturbed).double()
    model.train(not bench.strategy.draws_in_training())
    loss = _loss(model, bench.strategy)
    loss.backward()
    trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    for part in dict.fromkeys(part_of(name) for name, _ in trained):
        own = [parameter for name, parameter in trained if part_of(name) == part]
        slopes = _slopes(model, bench.strategy, own, torch.Generator().manual_seed(25))
        if not any(abs(slope - predicted) <= GRADIENT * length for slope, predicted, length in slopes):
            slope, predicted, _ = slopes[0]
            where = f"block {part}" if isinstance(part, int) else str(part)
            raise CheckFailed(
                f"the gradient of what is trained in {where} is not the slope of the loss: {predicted:.4g} instead of "
                f"{slope:.4g} along a random direction"
            )
    return Finding("passed")


def _slopes(
    model: GPTModel, strategy: Strategy, parameters: list[nn.Parameter], generator: torch.Generator
) -> list[tuple[float, float, float]]:
    """Along a random direction: the loss's slope by differences, the same by gradients, and the gradient's length.

    By differences of several sizes: a large one is wrong where the loss bends, a small one where something is computed
    in 32 bits.
    """
    directions = [torch.randn(each.shape, generator=generator).double() for each in parameters]
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
    predicted = sum(float((one * other).sum()) for one, other in zip(gradients, directions, strict=True))
    length = max(1e-9, sum(float(each.square().sum()) for each in gradients) ** 0.5)
    found = []
    for step in STEPS:
        values = []
        with torch.no_grad():
            for factor in (step, -2 * step, step):
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter.add_(direction, alpha=factor)
                values.append(float(_loss(model, strategy)))
        found.append(((values[0] - values[1]) / (2 * step), predicted, length))
        if abs(found[-1][0] - predicted) <= GRADIENT * length:
            break
    return found


def _loss(model: GPTModel, strategy: Strategy | None) -> Tensor:
    """Of some messages, with the strategy's own term."""
    split = small_dataset().train
    logits = model.class_logits(split.token_ids[:ROWS], split.last_position[:ROWS])
    labels = split.labels[:ROWS]
    return loss_of(model, strategy, logits, labels) if strategy else F.cross_entropy(logits, labels)


def random_as_declared(bench: Bench) -> Finding:
    """Training steps draw random numbers where that is declared, by a dropout above 0, and only there."""
    strategy = bench.strategy
    own = [
        field.name
        for field in fields(strategy)
        if "dropout" in field.name and isinstance(field.default, float)
    ]
    with_dropout = replace(strategy, **dict.fromkeys(own, 0.5)) if own else strategy
    for each in (strategy, with_dropout) if own else (strategy,):
        model = bench.disturbed if each is strategy else disturbed(classifier_of(each, 1))
        model = copy.deepcopy(model)
        if _changes_by_itself(model.eval(), each):
            raise CheckFailed("two evaluations of the same model differ")
        varies, declared = _changes_by_itself(model.train(), each), each.draws_in_training()
        if varies and not declared:
            raise CheckFailed("two training passes of the same model differ, and no dropout is declared")
        if declared and not varies:
            raise CheckFailed(
                f"a dropout is declared ({', '.join(own) or 'draws_in_training'}) and never active"
            )
    return Finding("passed", f"with {', '.join(own)}, too" if own else "")


def _changes_by_itself(model: GPTModel, strategy: Strategy) -> bool:
    losses = []
    for seed in (1, 2, 3):
        torch.manual_seed(seed)
        with torch.no_grad():
            losses.append(float(_loss(model, strategy if model.training else None)))
    return max(losses) - min(losses) > 1e-6 * max(1.0, abs(losses[0]))


def leaves_the_padding_unread(bench: Bench) -> Finding:
    """The logits at a message's last token do not depend on what stands behind it, or on how much."""
    split = small_dataset().train
    other = torch.randint(0, SMALL.vocab_size, (len(split), 4 + split.token_ids.shape[1]))
    behind = torch.arange(other.shape[1]) > split.last_position[:, None]
    padded = torch.cat([split.token_ids, other[:, :4]], dim=1).where(~behind, other)
    model = copy.deepcopy(bench.disturbed)
    for mode in (False, True) if not bench.strategy.draws_in_training() else (False,):
        model.train(mode)
        with torch.no_grad():
            expected = model.class_logits(split.token_ids, split.last_position)
            found = model.class_logits(padded, split.last_position)
        if not largest_difference(expected, found) <= 1e-4 * max(1.0, float(expected.abs().max())):
            raise CheckFailed(
                "the logits change with the padding behind a message's last token"
                + (" while training" if mode else "")
            )
    return Finding("passed")
