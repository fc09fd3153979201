"""What the strategies that stand on HF PEFT share: the layers they target and how an adapter goes in."""

from typing import TYPE_CHECKING

from core.model import GPTModel

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
