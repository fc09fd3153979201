"""The checks that every strategy must pass, each a function of the bench.

A check returns a Finding, or raises CheckFailed with one sentence about what it saw; its usual cause and the
fix stand beside it in CHECKS. Source of the idea: scikit-learn's check_estimator.
"""

import copy
import gc
import inspect
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from headtohead.core.classifier import (
    ClassifierInfo,
    describe_classifier,
    load_tensors,
    rebuild,
    save_classifier,
    untrained_differences,
)
from headtohead.core.config import CONFIGS
from headtohead.core.engine import ALL, REFERENCE, Engine, EngineOptions, Outcome
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Method, Strategy, trainable_parameters
from headtohead.core.training import TrainConfig
from headtohead.strategies._catalogue import read_notes
from headtohead.strategies.check import behaviour
from headtohead.strategies.check.bench import (
    IDLE_STEPS,
    N_CLASSES,
    OVERFIT_FACTORS,
    OVERFIT_STEPS,
    SMALL,
    Bench,
    Finetuned,
    counts_of,
    largest_difference,
    logits_of,
    real_counts,
    small_dataset,
    small_gpt,
)
from headtohead.strategies.check.findings import Check, CheckFailed, Finding, named


def applies(bench: Bench) -> Finding:
    """The strategy can be applied, leaves something to train and a model that classifies."""
    model = bench.fresh
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trained:
        raise CheckFailed("after apply no parameter is trainable")
    logits = logits_of(model)
    if logits.shape != (len(small_dataset().train), N_CLASSES) or not torch.isfinite(logits).all():
        raise CheckFailed(
            f"the classifier gives logits of shape {tuple(logits.shape)}, or some are no numbers"
        )
    return Finding("passed", f"{len(trained)} trainable tensors")


def starts_at_pretrained(bench: Bench) -> Finding:
    """Right after apply the logits are those of the pretrained model with the same new head."""
    torch.manual_seed(1)
    head = nn.Linear(SMALL.emb_dim, N_CLASSES)
    plain = small_gpt().build()
    plain.out_head = head
    difference = largest_difference(logits_of(bench.fresh), logits_of(plain))
    if not bench.strategy.starts_at_pretrained:
        return Finding("skipped", f"declares that it does not (logits differ by {difference:.2g})")
    if not difference <= 1e-4:
        raise CheckFailed(
            f"before the first step the logits differ from the pretrained model's by {difference:.3g}"
        )
    return Finding("passed", f"logits differ by {difference:.1g}")


def only_declared_moves(bench: Bench) -> Finding:
    """Nothing else ever trains, every other tensor stays bit-equal, and without a learning rate all do."""
    for finetuned in [bench.short, *([bench.learned[0]] if bench.learned else [])]:
        if finetuned.unfrozen:
            raise CheckFailed(f"{named(finetuned.unfrozen)} trains although frozen after apply")
        if moved := [name for name in _changed(finetuned) if name not in set(finetuned.trained)]:
            raise CheckFailed(f"{named(moved)} changed although declared frozen")
    if written := _changed(bench.idle):
        raise CheckFailed(f"{named(written)} changed in {IDLE_STEPS} steps without a learning rate")
    return Finding("passed", f"{len(bench.short.before) - len(bench.short.trained)} frozen tensors bit-equal")


def all_declared_moves(bench: Bench) -> Finding:
    """Every trainable tensor moves within a few steps, by gradients alone."""
    short = bench.short
    still = sorted(set(short.trained) - set(_changed(short)))
    if still:
        raise CheckFailed(f"{named(still)} did not move within the first steps although declared trainable")
    return Finding("passed", f"{len(short.trained)} trainable tensors moved")


def repeats(bench: Bench) -> Finding:
    """The same seed gives the same tensors bit by bit."""
    first, again = bench.short.model.state_dict(), bench.short_run(1).model.state_dict()
    differing = [name for name, tensor in first.items() if not torch.equal(tensor, again[name])]
    if differing:
        raise CheckFailed(f"two runs under the same seed differ in {named(differing)}")
    return Finding("passed")


def copies_are_independent(bench: Bench) -> Finding:
    """A deep copy computes the same, and training one of the two leaves the other as it was."""
    model = bench.classifier(seed=1)  # itself: a copy's hooks may hold on to the one that it was copied from
    twin = copy.deepcopy(model)
    expected = logits_of(model)
    if not torch.equal(logits_of(twin), expected):
        raise CheckFailed("a deep copy of the model computes other logits")
    for changed, other, words in ((twin, model, "a deep copy"), (model, twin, "the original")):
        expected = logits_of(other)
        with torch.no_grad():
            for parameter in trainable_parameters(changed):
                parameter.add_(0.5 * torch.rand_like(parameter))
        if not torch.equal(logits_of(other), expected):
            raise CheckFailed(f"changing {words}'s parameters changes the logits of the other model")
    return Finding("passed")


def counts_hold(bench: Bench) -> Finding:
    """Every part of the tiny model trains as many numbers as counts() says, in closed form."""
    stated, actual = bench.strategy.all_counts(SMALL, N_CLASSES), counts_of(bench.fresh)
    if stated is None:
        return Finding("warning", "counts() states nothing: in which blocks it trains is not checked")
    for part in {**stated, **actual}:
        if stated.get(part, 0) != actual.get(part, 0):
            where = f"block {part}" if isinstance(part, int) else part
            raise CheckFailed(
                f"{actual.get(part, 0):,} numbers train in {where}; counts() says {stated.get(part, 0):,}"
            )
    return Finding("passed", f"{sum(actual.values()):,} at the small size")


def count_as_stated(bench: Bench) -> Finding:
    """The docstring's "At 124M" is the number of trainable parameters of the 124M model with two classes."""
    defaults = type(bench.strategy)()
    if bench.strategy != defaults:
        return Finding("skipped", "the docstring states the number for the default fields only")
    actual = count_at_124m(defaults)
    said = {
        "the docstring": stated_number(bench.strategy),
        "counts()": defaults.parameter_count(CONFIGS["124M"]),
    }
    for where, number in said.items():
        if number != actual and (where == "the docstring" or number is not None):
            raise CheckFailed(f"at 124M {actual:,} parameters are trained; {where} says {number}")
    return Finding("passed", f"{actual:,}")


def overfits(bench: Bench) -> Finding:
    """Sixteen messages are learned by heart at some multiple of the strategy's own learning rates."""
    if bench.learned is None:
        factors = ", ".join(f"{factor:g}" for factor in OVERFIT_FACTORS)
        raise CheckFailed(
            f"16 messages were not learned by heart in {OVERFIT_STEPS} steps at any of {factors} x its learning rate"
        )
    _, factor, steps = bench.learned
    return Finding("passed", f"at {factor:g} x its learning rate in {steps} steps")


def reloads(bench: Bench) -> Finding:
    """A saved classifier, reloaded onto a base with another random head, has bit-equal logits."""
    finetuned = _most_trained(bench)
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = rebuild(small_gpt(), bench.strategy, N_CLASSES, seed=2)
        info = _save(bench, finetuned, rebuilt, Path(folder) / "classifier")
        load_tensors(Path(folder) / "classifier", rebuilt, info)
    if not torch.equal(logits_of(rebuilt), logits_of(finetuned.model)):
        difference = largest_difference(logits_of(rebuilt), logits_of(finetuned.model))
        raise CheckFailed(f"the reloaded classifier's logits differ from the saved one's by {difference:.3g}")
    return Finding("passed")


def file_holds_what_is_trained(bench: Bench) -> Finding:
    """The saved file holds only what is trained; a method that must save more is named."""
    finetuned = _most_trained(bench)
    with tempfile.TemporaryDirectory() as folder:
        rebuilt = rebuild(small_gpt(), bench.strategy, N_CLASSES, seed=2)
        extra = _save(bench, finetuned, rebuilt, Path(folder) / "classifier").untrained_tensors or []
    if extra:
        return Finding("warning", f"{len(extra)} tensors are saved although not trained: {named(extra)}")
    return Finding("passed", f"{len(finetuned.trained)} tensors")


def merges(bench: Bench) -> Finding:
    """Merged, the model is a plain GPTModel with the same logits."""
    model = copy.deepcopy(_most_trained(bench).model)
    before = logits_of(model)
    if not bench.strategy.merges:
        try:
            bench.strategy.merge(model)
        except InputError:
            return Finding("skipped", "declares that it cannot be merged")
        raise CheckFailed("declares merges = False, yet merge() runs")
    bench.strategy.merge(model)
    strange = _strange_modules(model)
    if strange:
        raise CheckFailed(f"the merged model is no plain GPTModel: {named(strange)}")
    difference = largest_difference(logits_of(model), before)
    if not difference <= 1e-4 * max(1.0, float(before.abs().max())):
        raise CheckFailed(f"merging changes the logits by {difference:.3g}")
    return Finding("passed", f"logits differ by {difference:.1g}")


def low_rank_is_exact(bench: Bench) -> Finding:
    """Every layer that low_rank declares computes x (W + scale up down)^T + bias, whatever up and down hold."""
    model = bench.disturbed
    with torch.no_grad():
        declared = bench.strategy.low_rank(model)
        if not declared:
            return Finding("skipped", "declares no low-rank layers, and need not")
        names = {module: name for name, module in model.named_modules()}
        for module, update in declared.items():
            x = torch.randn(5, update.base.in_features)
            weight = update.base.weight + update.scale * update.up @ update.down
            expected = nn.functional.linear(x, weight, update.base.bias)
            difference = largest_difference(module(x), expected)
            if not difference <= 1e-4 * max(1.0, float(expected.abs().max())):
                raise CheckFailed(
                    f"{names[module]} computes something else than it declares, by {difference:.3g}"
                )
    return Finding("passed", f"{len(declared)} layers")


def engine_agrees(bench: Bench) -> Finding:
    """What the engine leaves out or rearranges does not change the losses; where it would, it leaves out nothing."""
    epochs = 1 if type(bench.strategy).after_step is Strategy.after_step else 3
    config = TrainConfig(epochs, 8, 100, 1, position="last_real")
    with _nothing_searched():
        planned = _outcome(bench, config, EngineOptions(allowed=ALL))
        slow = [note for note in planned.plan["notes"] if note.startswith("reference path")]
        if slow:
            return Finding("warning", slow[0])
        reference = _outcome(bench, config, EngineOptions(allowed=REFERENCE))
    losses = _losses(reference)
    difference = largest_difference(torch.tensor(_losses(planned)), torch.tensor(losses))
    if not difference <= 1e-4 * max(1.0, *map(abs, losses)):
        raise CheckFailed(f"the engine's losses differ from those of the reference path by {difference:.3g}")
    return Finding("passed", f"losses differ by {difference:.1g}")


@contextmanager
def _nothing_searched() -> Iterator[None]:
    """The engine collects garbage before it measures memory: what there is already need not be searched.

    Whoever has frozen objects before keeps them so: unfreezing knows no difference between theirs and ours.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


CHECKS = (
    Check(
        "can be applied",
        applies,
        "apply raises, replaces a layer by one of another output shape, or unfreezes nothing while trains_head is "
        "False",
        "read the error above; apply gets a GPTModel (core/model.py) and edits it in place",
    ),
    Check(
        "starts at the pretrained model",
        starts_at_pretrained,
        "an inserted layer does not begin as the identity: its last matrix is not zero",
        "start that matrix at zero, or declare starts_at_pretrained: ClassVar[bool] = False where the method is so",
    ),
    Check(
        "moves only what it declares",
        only_declared_moves,
        "after_step or a forward pass writes to a tensor, or param_groups returns a frozen parameter",
        "write only to parameters whose requires_grad is True after apply",
    ),
    Check(
        "moves all that it declares",
        all_declared_moves,
        "the tensor takes no part in the logits, is multiplied by something that stays zero, its gradient is cut off "
        "(detach, no_grad), or param_groups leaves it out",
        "freeze it, start one factor of each product away from zero, or add it to param_groups",
    ),
    Check(
        "repeats under its seed",
        repeats,
        "random numbers come from somewhere else than torch's global generator, or a fixed seed is set in apply",
        "draw with torch.nn.init or torch.rand and set no seed of your own; keep no state between runs",
    ),
    Check(
        "every seed is its own",
        behaviour.every_seed_is_its_own,
        "a seed is set in apply, or numbers are drawn from a generator with a fixed seed: all runs share that chance",
        'draw from torch\'s global generator, or say in the docstring what is shared: "Seeds: ..."',
    ),
    Check(
        "keeps its rates",
        behaviour.keeps_its_rates,
        "param_groups gives a group another rate than the fields say, or forgets a parameter",
        "leave param_groups alone and override learning_rate_of and weight_decay_of",
    ),
    Check(
        "has an effect",
        behaviour.has_an_effect,
        "what is inserted is multiplied by next to nothing, or its output is not used",
        "look at the scale, and at what the replaced layer returns",
    ),
    Check(
        "gradients are complete",
        behaviour.gradients_are_complete,
        "a detach or a no_grad cuts a path from what trains to the loss, or extra_loss carries no gradient",
        "leave the path whole; a frozen layer needs requires_grad False, not a detached input",
    ),
    Check(
        "draws only as declared",
        behaviour.random_as_declared,
        "noise is added in training, or a dropout's probability never reaches the layer",
        "give the strategy a field named dropout that does what it says, or override draws_in_training",
    ),
    Check(
        "leaves the padding unread",
        behaviour.leaves_the_padding_unread,
        "attention looks ahead, or positions are pooled without a mask",
        "let a position read itself and what stands before it",
    ),
    Check(
        "copies are independent",
        copies_are_independent,
        "a hook or closure holds on to one model's modules, or parameters lie in a list that torch does not see",
        "register modules and parameters as attributes (nn.Module, nn.Parameter, nn.ModuleList), not in closures",
    ),
    Check(
        "trains where it says",
        counts_hold,
        "an adapter is in another block than its author thought, or the closed form forgets a bias or a norm",
        "let counts(config, n_classes) give the trained numbers of every block, or mend apply",
    ),
    Check(
        "count at 124M is as stated",
        count_as_stated,
        "the docstring lacks the line, or apply unfreezes more or less than its author thought",
        'write the number above into the docstring as "At 124M: N", or mend apply',
    ),
    Check(
        "learns 16 messages by heart",
        overfits,
        "gradients do not reach what is trained, the method is too weak for any learning rate tried, or a schedule "
        "in after_step freezes it too early",
        "look at the checks above first; then give the method more parameters or a larger learning_rate",
    ),
    Check(
        "reloads bit-equal",
        reloads,
        "apply depends on something that is neither in the model's state nor in the strategy's fields, or state "
        "lies in plain attributes",
        "keep whatever training changes in parameters or persistent buffers",
    ),
    Check(
        "saves only what is trained",
        file_holds_what_is_trained,
        "frozen tensors depend on the seed",
        "derive them from a fixed key, or accept the larger file",
    ),
    Check(
        "merges into a plain GPT",
        merges,
        "merge forgets a scale, a bias or a layer, or leaves its own modules in place",
        "fold every inserted layer into an nn.Linear, or leave merges False and merge alone",
    ),
    Check(
        "declared low rank is exact",
        low_rank_is_exact,
        "the scale is wrong, up and down are exchanged, or the layer does more (dropout, a bias of its own, a norm)",
        "leave such layers out of low_rank: declaring them only saves time",
    ),
    Check(
        "engine's shortcuts are exact",
        engine_agrees,
        "a layer in the place of a linear one mixes tokens while training, or something outside the modules' "
        "parameters changes between two steps",
        "let a layer that mixes tokens replace att, ff or the whole block instead; change things in after_step only",
    ),
)


def _changed(finetuned: Finetuned) -> list[str]:
    """Names of tensors that are not bit-equal to what they were."""
    after = finetuned.model.state_dict()
    return [name for name, tensor in finetuned.before.items() if not torch.equal(tensor, after[name])]


def stated_number(method: Method) -> int | None:
    """The number of the docstring's "At 124M: 1,538"; None where there is no such line, or no number in it."""
    found = re.match(r"\d[\d,]*", read_notes(inspect.getdoc(type(method)) or "").get("At 124M", ""))
    return int(found[0].replace(",", "")) if found else None


def count_at_124m(strategy: Strategy) -> int:
    """By shapes alone; where apply computes with weights (an SVD, say), with random ones: of a block, or of all."""
    large = CONFIGS["124M"]
    try:
        return sum(real_counts(large, strategy, "meta").values())
    except (NotImplementedError, RuntimeError):
        one_block = replace(large, n_layers=1, vocab_size=64)
        stated = strategy.parameter_count(large)
        if stated and strategy.all_counts(one_block, N_CLASSES) == real_counts(one_block, strategy, "cpu"):
            return stated
        return sum(real_counts(large, strategy, "cpu").values())


def _most_trained(bench: Bench) -> Finetuned:
    return bench.learned[0] if bench.learned else bench.short


def _save(bench: Bench, finetuned: Finetuned, rebuilt: GPTModel, folder: Path) -> ClassifierInfo:
    data = small_dataset()
    info = describe_classifier(
        bench.variant, small_gpt(), data.label_names, data.max_length, "last_real", seed=1
    )
    return save_classifier(folder, finetuned.model, untrained_differences(finetuned.model, rebuilt), info)


def _strange_modules(model: GPTModel) -> list[str]:
    """Modules of a merged model that the plain one does not have, or has as another type; hooks, too."""
    plain = small_gpt().build()
    plain.out_head = nn.Linear(SMALL.emb_dim, N_CLASSES)
    expected = {name: type(module) for name, module in plain.named_modules()}
    found = {name: type(module) for name, module in model.named_modules()}
    strange = [
        f"{name or 'the model'} is a {kind.__name__}"
        for name, kind in found.items()
        if expected.get(name) is not kind
    ]
    strange += [f"{name} is missing" for name in expected.keys() - found.keys()]
    hooked = [
        name for name, module in model.named_modules() if module._forward_hooks or module._forward_pre_hooks
    ]
    return strange + [f"{name or 'the model'} has a hook" for name in hooked]


def _outcome(bench: Bench, config: TrainConfig, options: EngineOptions) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(small_gpt(), small_dataset(), config, options)
        return engine.fit(bench.variant, 1, Path(folder) / "classifier")


def _losses(outcome: Outcome) -> list[float]:
    """Losses after the first and the last step of a short run, and that of the reloaded classifier on test."""
    losses = [row.train_loss for row in outcome.history.rows if row.train_loss is not None]
    assert outcome.test is not None, "it is no trial"
    return [*losses, outcome.train.loss, outcome.test.loss]
