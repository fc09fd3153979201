"""What the strategies that stand on HF PEFT share: the layers they target, how an adapter goes in, how it is merged.

Source: https://huggingface.co/docs/peft.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, get_args

from torch import nn

from headtohead.core.config import GPTConfig
from headtohead.core.errors import InputError
from headtohead.core.fields import LearningRate, Range
from headtohead.core.model import GPTModel
from headtohead.core.strategy import Counts, LowRank, Strategy, part_of

if TYPE_CHECKING:
    from peft import PeftConfig
    from peft.tuners.tuners_utils import BaseTuner

# The six linear layers of every block, by the ends of their names; the output head is not among them.
Target = Literal["W_query", "W_key", "W_value", "out_proj", "layers.0", "layers.2"]
LINEAR_LAYERS: tuple[Target, ...] = get_args(Target)


@dataclass(frozen=True, kw_only=True)
class PeftStrategy(Strategy):
    """A tuner of PEFT on linear layers of the blocks; a subclass says which, by its configuration.

    Fields:
        targets: the linear layers of a block that are adapted, by the ends of their names.
        layers: the blocks that are adapted, by number from 0; none given means all.
        head_learning_rate: that of the head, where what is inserted needs a much larger one; None for the same.
    """

    family: ClassVar[str] = "low-rank"
    merges: ClassVar[bool] = True

    targets: tuple[Target, ...] = LINEAR_LAYERS
    layers: tuple[Annotated[int, Range(0, below="n_layers")], ...] = ()
    head_learning_rate: LearningRate | None = None

    @abstractmethod
    def config(self, model: GPTModel, target_modules: list[str]) -> "PeftConfig":
        """PEFT's configuration for layers given by their full names; its task_type stays unset."""

    def apply(self, model: GPTModel) -> None:
        insert_adapter(model, self.config(model, target_names(model, self.targets, self.layers)))

    def learning_rate_of(self, name: str, config: GPTConfig) -> float:
        own = self.head_learning_rate if part_of(name) == "out_head" else None
        return self.learning_rate if own is None else own

    def counts(self, config: GPTConfig, n_classes: int) -> Counts | None:
        sizes = {"layers.0": (1, 4), "layers.2": (4, 1)}  # in widths; all others (1, 1)
        shapes = [sizes.get(target, (1, 1)) for target in self.targets]
        width, layers = config.emb_dim, self.layers or range(config.n_layers)
        counts = [self.layer_count(inputs * width, outputs * width) for inputs, outputs in shapes]
        known = [count for count in counts if count is not None]
        return dict.fromkeys(layers, sum(known)) if len(known) == len(counts) else None

    def layer_count(self, inputs: int, outputs: int) -> int | None:
        """How many numbers train in an adapted layer of that shape; None where no closed form is stated."""
        return None

    def merge(self, model: GPTModel) -> None:
        merge_adapters(model)


def target_names(model: GPTModel, targets: Sequence[str], layers: Sequence[int]) -> list[str]:
    """Full names of the blocks' linear layers that end in one of ``targets``, in the given blocks (all if none)."""
    blocks = list(layers) or list(range(len(model.trf_blocks)))
    places = {target: "ff" if target.startswith("layers") else "att" for target in targets}
    return [f"trf_blocks.{number}.{places[target]}.{target}" for number in blocks for target in targets]


def insert_adapter(model: GPTModel, config: "PeftConfig") -> "BaseTuner":
    """Replace the layers that ``config`` targets by PEFT's versions of them, in place.

    The config's task_type stays unset: PEFT then edits the model it is given instead of wrapping it in one of its
    own classes. This is peft.inject_adapter_in_model, which returns no tuner, and refuses those that keep a tensor
    for all layers in the tuner; here every layer keeps a reference to such a tensor, and that is enough.

    Raises:
        ValueError: the type inserts no layers (prompts, for example).
    """
    from peft import inject_adapter_in_model
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.utils import PeftType

    kind = PeftType(config.peft_type)
    if kind not in PEFT_TYPE_TO_TUNER_MAPPING or config.is_prompt_learning or config.is_adaption_prompt:
        inject_adapter_in_model(config, model)  # says why not
        raise ValueError(f"PEFT has no tuner for {kind.value}")
    tuner_class = PEFT_TYPE_TO_TUNER_MAPPING[kind]
    tuner = tuner_class(model, config, adapter_name="default")
    if tuner_class.uses_shared_state:
        _register_once(model)
    return tuner


def _register_once(model: GPTModel) -> None:
    """Leave a container of tensors that many layers share in the first only, so that it is saved and counted once.

    The others keep it as a plain attribute: they find it as before.
    """
    seen: set[int] = set()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if id(child) in seen:
                del module._modules[name]
                vars(module)[name] = child
            seen.add(id(child))


def merge_adapters(model: GPTModel) -> None:
    """Fold every inserted layer into its linear layer, in place.

    Raises:
        InputError: PEFT cannot merge layers of this type.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    inserted = [
        (name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)
    ]
    for name, module in inserted:
        try:
            module.merge(safe_merge=True)
        except NotImplementedError as error:
            raise InputError(f"PEFT cannot merge {type(module).__module__}: keep its adapters") from error
        model.set_submodule(name, module.get_base_layer())


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
        if (
            len(names) != 1
            or names[0] not in module.lora_A
            or base.weight.requires_grad
            or module.fan_in_fan_out
        ):
            continue
        down, up = module.lora_A[names[0]], module.lora_B[names[0]]
        if up.bias is None and isinstance(module.lora_dropout[names[0]], nn.Identity):
            declared[module] = LowRank(base, down.weight, up.weight, float(module.scaling[names[0]]))
    return declared
