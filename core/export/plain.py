"""A finetuned classifier as a plain GPTModel: what was inserted is folded into the weights."""

import copy

import torch
from torch import nn

from headtohead.core.classifier import Classifier
from headtohead.core.errors import InputError
from headtohead.core.model import GPTModel
from headtohead.core.single_output import SingleOutput
from headtohead.core.weights.pretrained import model_without_values


def plain_model(classifier: Classifier) -> GPTModel:
    """A copy of the classifier's model with nothing but a GPT-2's parts and a linear head.

    Raises:
        InputError: what its strategy inserted cannot be folded into weights.
    """
    model = copy.deepcopy(classifier.model).cpu()
    if type(model.out_head) is SingleOutput:
        model.out_head = _two_outputs(model.out_head)
    if strange(model):
        classifier.strategy.merge(model)
    if left := strange(model):
        raise InputError(
            f"a classifier trained by {classifier.info.label} cannot be exported as a plain GPT-2: {left}"
        )
    return model


@torch.no_grad()
def _two_outputs(head: SingleOutput) -> nn.Linear:
    """The same logits, 0 and z, from a head with an output for each of the two classes."""
    both = nn.Linear(head.in_features, 2)
    both.weight.copy_(torch.cat([torch.zeros_like(head.weight), head.weight]))
    both.bias.copy_(torch.cat([torch.zeros_like(head.bias), head.bias]))
    return both


def strange(model: GPTModel) -> str | None:
    """What of a classifier a plain GPT-2 with a linear head does not have; None where there is nothing."""
    expected = model_without_values(model.config)
    expected.out_head = nn.Linear(1, 1, device="meta")
    kinds = {name: type(module) for name, module in expected.named_modules()}
    for name, module in model.named_modules():
        if kinds.pop(name, None) is not type(module):
            return f"{name or 'the model'} is a {type(module).__name__}"
        hooks = (module._forward_hooks, module._forward_pre_hooks)
        if any(hooks) or "forward" in vars(module):
            return f"{name or 'the model'} is called in another way"
    if kinds:
        return f"{next(iter(kinds))} is missing"
    own, needed = model.state_dict(), expected.state_dict()
    names = (set(own) ^ set(needed)) - {"out_head.bias"}
    return f"{min(names)} is no tensor of a GPT-2" if names else None


@torch.no_grad()
def fold_head_bias(model: GPTModel) -> None:
    """Move the head's bias into the final norm's shift, in place: the same logits, from a head without a bias.

    W (b + d) = W b + c has a solution d = W^+ c wherever the C rows of the head's weight W (C, D) are independent.

    Raises:
        InputError: they are not, so no shift gives this bias.
    """
    weight, bias = model.out_head.weight.double(), model.out_head.bias
    if bias is None:
        return
    shift = torch.linalg.pinv(weight) @ bias.double()
    if not torch.allclose(weight @ shift, bias.double(), rtol=0, atol=1e-6):
        raise InputError(
            "transformers' classifier has a head without a bias, and the bias of this one cannot be moved into the "
            "final norm, because the rows of its weight depend on each other; export it with --to gptmodel"
        )
    model.final_norm.shift.add_(shift.float())
    model.out_head.register_parameter("bias", None)
