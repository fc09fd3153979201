"""What the strategies that stand on HF PEFT share: the layers they target and how an adapter goes in."""

from typing import TYPE_CHECKING

from torch import nn

from core.model import GPTModel
from core.strategy import LowRank

if TYPE_CHECKING:
    from peft import PeftConfig

# The six linear layers of every block, by the ends of their names; the output head is not among them.
LINEAR_LAYERS = ("W_query", "W_key", "W_value", "out_proj", "layers.0", "layers.2")


def insert_adapter(model: GPTModel, config: "PeftConfig") -> None:
    """Replace the layers that ``config`` targets by PEFT's versions of them, in place.

    The config's task_type stays unset: PEFT then edits the model it is given instead of wrapping it in one of
    its own classes. Source: peft.inject_adapter_in_model, https://huggingface.co/docs/peft.
    """
    from peft import inject_adapter_in_model

    inject_adapter_in_model(config, model)


def plain_lora_layers(model: GPTModel) -> dict[nn.Module, LowRank]:
    """The inserted LoRA layers that compute exactly ``x (W + scale B A)^T + bias``, declared as such.

    Variants (DoRA, aLoRA ...), dropout, biases of their own, several adapters or a base layer that trains are left out.
    """
    from peft.tuners.lora import Linear

    declared: dict[nn.Module, LowRank] = {}
    for module in model.modules():
        if type(module) is not Linear or module.lora_variant or type(module.base_layer) is not nn.Linear:
            continue
        names, base = module.active_adapters, module.base_layer
        if len(names) != 1 or names[0] not in module.lora_A or base.weight.requires_grad or module.fan_in_fan_out:
            continue
        down, up = module.lora_A[names[0]], module.lora_B[names[0]]
        if up.bias is None and isinstance(module.lora_dropout[names[0]], nn.Identity):
            declared[module] = LowRank(base, down.weight, up.weight, float(module.scaling[names[0]]))
    return declared
