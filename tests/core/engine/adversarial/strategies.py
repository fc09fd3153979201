"""Strategies that would get other numbers from a plan that believed more than it has looked at.

Each trains something harmless and does one thing that a plan could overlook. Those in ``KEPT`` do nothing that forbids
less work and must keep their plan.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headtohead.core.model import GELU, GPTModel, MultiHeadAttention
from headtohead.core.strategy import LowRank, Strategy, freeze, trainable_parameters, unfreeze

DIMS = 32
FOOLING: list[type[Strategy]] = []
KEPT: list[type[Strategy]] = []
FAILING: list[type[Strategy]] = []


@dataclass(frozen=True, kw_only=True)
class LastBlock(Strategy):
    """The last block and the head; ``change`` is what a case adds."""

    learning_rate: float = 3e-3

    def apply(self, model: GPTModel) -> None:
        unfreeze(model.trf_blocks[-1])
        self.change(model)

    def change(self, model: GPTModel) -> None:
        """Nothing."""


Case = type[Strategy]


def fooling(case: Case) -> Case:
    FOOLING.append(case)
    return case


def kept(case: Case) -> Case:
    KEPT.append(case)
    return case


def failing(case: Case) -> Case:
    FAILING.append(case)
    return case


def block(model: GPTModel, index: int) -> Any:
    return model.trf_blocks[index]


class Around(nn.Module):
    """A layer with a function of its output behind it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x)
        return y


# --- inserted layers ---------------------------------------------------------------------------------------------


class ByLength(Around):
    """Reads the length of the padded batch."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + x.shape[-2] / 10)


@fooling
class ScalesByLength(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).ff.layers[0] = ByLength(block(model, -1).ff.layers[0])


class PastMean(Around):
    """Mixes tokens: each gets the mean of those before it."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        steps = torch.arange(1, y.shape[-2] + 1).unsqueeze(-1)
        return y + y.cumsum(-2) / steps


@fooling
class MixesTokens(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).att.out_proj = PastMean(block(model, -1).att.out_proj)


class Drawing(Around):
    """Adds noise while training."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y + 0.3 * torch.randn(y.shape[-1]) if self.training else y


@fooling
class DrawsNoise(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).ff.layers[2] = Drawing(block(model, -1).ff.layers[2])


class PythonDice(Around):
    """Skips its layer now and then, by Python's own generator."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (0.5 if random.random() < 0.5 else 1.0)


@fooling
class DrawsElsewhere(LastBlock):
    def change(self, model: GPTModel) -> None:
        random.seed(5)
        block(model, -1).ff.layers[0] = PythonDice(block(model, -1).ff.layers[0])


class Counting(Around):
    """Grows with the number of its calls, which evaluation in larger batches would change."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x) * (1 + 0.01 * max(0, self.calls - 4))


@fooling
class CountsCalls(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).ff.layers[2] = Counting(block(model, -1).ff.layers[2])


class Remembering(Around):
    """Keeps a moving mean of what passes in a list."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(layer)
        self.seen: list[float] = [0.0]

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.seen[0] = 0.9 * self.seen[0] + 0.1 * float(y.detach().mean())
        return y - self.seen[0]


@fooling
class RemembersMeans(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).att.W_value = Remembering(block(model, -1).att.W_value)


class BatchScale(Around):
    """Normalises over the batch, in training mode only."""

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return y / (1 + y.std()) if self.training else y


@fooling
class NormalisesInTraining(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).ff.layers[2] = BatchScale(block(model, -1).ff.layers[2])


class Watching(Around):
    """Remembers its output, for a penalty."""

    def forward(self, x: Tensor) -> Tensor:
        self.out = super().forward(x)
        return self.out


@fooling
class PenalisesActivations(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).ff.layers[2] = Watching(block(model, -1).ff.layers[2])

    def extra_loss(self, model: GPTModel) -> Tensor:
        return 0.1 * block(model, -1).ff.layers[2].out.square().sum()


class Saboteur(Around):
    """Writes to a frozen weight of an early block, behind torch's back, from its sixth call on."""

    def __init__(self, layer: nn.Module, victim: nn.Parameter) -> None:
        super().__init__(layer)
        self.victims, self.left = [victim], torch.tensor(40)

    def forward(self, x: Tensor) -> Tensor:
        self.left.data -= 1
        if self.left <= 20:
            self.victims[0].data.mul_(0.9)
        return super().forward(x)


@fooling
class WritesToFrozenWeight(LastBlock):
    def change(self, model: GPTModel) -> None:
        layers = block(model, -1).ff.layers
        layers[2] = Saboteur(layers[2], block(model, 0).ff.layers[0].weight)


class Halved(Around):
    """Says that it is low rank and is not."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.down, self.up = nn.Parameter(torch.randn(2, DIMS)), nn.Parameter(torch.zeros(DIMS, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + torch.tanh(x @ self.down.T) @ self.up.T


@fooling
class DeclaresFalsely(LastBlock):
    def apply(self, model: GPTModel) -> None:
        block(model, -1).att.W_value = Halved(block(model, -1).att.W_value)

    def low_rank(self, model: GPTModel) -> dict[nn.Module, LowRank]:
        layer = block(model, -1).att.W_value
        return {layer: LowRank(layer.layer, layer.down, layer.up, 1.0)}


# --- the model's own parts ---------------------------------------------------------------------------------------


@fooling
class BackwardsBlocks(LastBlock):
    def change(self, model: GPTModel) -> None:
        vars(model)["trf_blocks"] = nn.Sequential(*reversed(model.trf_blocks))


class Highway(nn.Sequential):
    """Runs its blocks and adds half of the first one's output."""

    def forward(self, x: Tensor) -> Tensor:
        first = self[0](x)
        return super().forward(x) + 0.5 * first


@fooling
class OtherContainer(LastBlock):
    def change(self, model: GPTModel) -> None:
        model.trf_blocks = Highway(*model.trf_blocks)


@fooling
class OneMoreBlock(LastBlock):
    def change(self, model: GPTModel) -> None:
        model.trf_blocks.append(nn.LayerNorm(DIMS))


@fooling
class PatchedForward(LastBlock):
    def change(self, model: GPTModel) -> None:
        norm = block(model, -1).norm2
        norm.forward = lambda x: F.layer_norm(x, x.shape[-1:]) * 2


@fooling
class PatchedClassLogits(LastBlock):
    def change(self, model: GPTModel) -> None:
        def first(self: GPTModel, token_ids: Tensor, position: Tensor) -> Tensor:
            logits: Tensor = self(token_ids)[:, 0]
            return logits

        vars(model)["class_logits"] = MethodType(first, model)


@fooling
class OtherClass(LastBlock):
    def change(self, model: GPTModel) -> None:
        class Doubled(GPTModel):
            def embed(self, token_ids: Tensor) -> Tensor:
                return 2 * super().embed(token_ids)

        model.__class__ = Doubled


class Bidirectional(MultiHeadAttention):
    """Attention without a mask."""

    def forward(self, x: Tensor) -> Tensor:
        queries, keys = self.split_heads(self.W_query(x)), self.split_heads(self.W_key(x))
        context = F.scaled_dot_product_attention(queries, keys, self.split_heads(self.W_value(x)))
        mixed: Tensor = self.out_proj(context.transpose(1, 2).flatten(2))
        return mixed


@fooling
class SeesTheFuture(LastBlock):
    def change(self, model: GPTModel) -> None:
        for index in (-2, -1):
            block(model, index).att.__class__ = Bidirectional


@fooling
class SharperHeads(LastBlock):
    def change(self, model: GPTModel) -> None:
        attention = block(model, 1).att
        attention.num_heads, attention.head_dim = 2 * attention.num_heads, attention.head_dim // 2


@fooling
class LargerEpsilon(LastBlock):
    def change(self, model: GPTModel) -> None:
        for index in (0, 1):
            block(model, index).norm1.eps = 0.5


@fooling
class EmbeddingsWithANorm(LastBlock):
    def change(self, model: GPTModel) -> None:
        model.tok_emb.max_norm = 0.3


@fooling
class ResidualsThroughTanh(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).drop_shortcut = nn.Tanh()


@fooling
class DropoutInTheMiddle(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, 2).drop_shortcut = nn.AlphaDropout(0.2)


@fooling
class SharedBlock(LastBlock):
    def change(self, model: GPTModel) -> None:
        model.trf_blocks[0] = model.trf_blocks[-1]


@fooling
class SharedMemory(LastBlock):
    def change(self, model: GPTModel) -> None:
        trained, still = (block(model, index).ff.layers[0].weight for index in (-1, 0))
        trained.data = still.data


@fooling
class PatchedFunction(LastBlock):
    """Gives a class another method while its model lives; ``restore`` undoes it."""

    original: ClassVar[Any] = GELU.forward

    def change(self, model: GPTModel) -> None:
        setattr(GELU, "forward", lambda self, x: F.relu(x))  # noqa: B010 - so that the type checker lets it

    @classmethod
    def restore(cls) -> None:
        setattr(GELU, "forward", cls.original)  # noqa: B010


# --- hooks -------------------------------------------------------------------------------------------------------


@fooling
class ForwardHook(LastBlock):
    def change(self, model: GPTModel) -> None:
        calls = [0]

        def later(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            calls[0] += 1
            return output * (1 + 0.02 * max(0, calls[0] - 9))

        block(model, -1).ff.register_forward_hook(later)


@fooling
class GradientHook(LastBlock):
    def change(self, model: GPTModel) -> None:
        block(model, -1).norm1.scale.register_hook(lambda gradient: gradient.sign())


@fooling
class AccumulationHook(Strategy):
    learning_rate: float = 3e-3

    def apply(self, model: GPTModel) -> None:
        unfreeze(model)

        def clip(parameter: Tensor) -> None:
            assert parameter.grad is not None
            parameter.grad.clamp_(-1e-5, 1e-5)

        model.tok_emb.weight.register_post_accumulate_grad_hook(clip)


# --- what happens during the training --------------------------------------------------------------------------------


@fooling
class EditsBeforeTraining(LastBlock):
    @torch.no_grad()
    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:
        block(model, 0).ff.layers[2].bias.add_(1.0)


@fooling
class UnfreezesBeforeTraining(LastBlock):
    def param_groups(self, model: GPTModel) -> list[dict[str, Any]]:
        return [{"params": list(model.parameters())}]

    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:
        unfreeze(model.trf_blocks[1])


@fooling
class UnfreezesInALoss(UnfreezesBeforeTraining):
    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:
        model.strategy_state["asked"] = 0

    def extra_loss(self, model: GPTModel) -> None:
        model.strategy_state["asked"] += 1
        if model.strategy_state["asked"] == 4:
            unfreeze(model.trf_blocks[1])


@fooling
class WritesInALoss(LastBlock):
    @torch.no_grad()
    def extra_loss(self, model: GPTModel) -> None:
        model.tok_emb.weight.mul_(0.99)


@fooling
class ReplacesLater(LastBlock):
    def after_step(self, model: GPTModel, step: int) -> None:
        if step == 2:
            block(model, -1).ff.layers[1] = nn.Tanh()


@fooling
class PatchesLater(LastBlock):
    def extra_loss(self, model: GPTModel) -> None:
        steps = model.strategy_state["steps"] = model.strategy_state.get("steps", 0) + 1
        if steps > 5:
            block(model, -1).att.split_heads = lambda x: F.normalize(
                x.unflatten(-1, (4, -1)).transpose(1, 2), dim=-1
            )


WARMTH = [0.0]


@fooling
class KeepsGlobals(LastBlock):
    """Its penalty grows with every call, counted in a global of its file."""

    def extra_loss(self, model: GPTModel) -> Tensor:
        WARMTH[0] += 0.01
        return WARMTH[0] * model.out_head.weight.square().sum()


@fooling
class DrawsInALoss(LastBlock):
    def extra_loss(self, model: GPTModel) -> Tensor:
        parameters = trainable_parameters(model.trf_blocks)
        return sum((1e-2 * (each * torch.randn_like(each)).sum() for each in parameters), torch.zeros(()))


@fooling
class PullsToPretrainedEmbeddings(Strategy):
    """All layers, with a penalty on how far the embedding has moved: it needs all rows of the embedding."""

    learning_rate: float = 3e-3

    def apply(self, model: GPTModel) -> None:
        unfreeze(model)
        model.strategy_state["start"] = model.tok_emb.weight.detach().clone()

    def extra_loss(self, model: GPTModel) -> Tensor:
        return (model.tok_emb.weight - model.strategy_state["start"]).square().sum()


@fooling
class InstanceMethod(LastBlock):
    """Overrides a method where only the instance shows it."""

    def __post_init__(self) -> None:
        def loss(model: GPTModel) -> Tensor:
            with torch.no_grad():
                block(model, 0).norm1.shift.add_(0.01)
            return model.out_head.weight.square().sum()

        object.__setattr__(self, "extra_loss", loss)


@failing
class ReplacesTheTrained(LastBlock):
    """Wraps a trained layer after it was counted, so that its file does not fit."""

    def before_training(self, model: GPTModel, epochs: int, steps_per_epoch: int) -> None:
        block(model, -1).ff.layers[0] = Around(block(model, -1).ff.layers[0])


# --- nothing that forbids a plan ----------------------------------------------------------------------------------


class Scaled(Around):
    """Token by token."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.scale = nn.Parameter(torch.ones(layer.out_features))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.scale


@kept
class ScalesALayer(Strategy):
    learning_rate: float = 3e-3

    def apply(self, model: GPTModel) -> None:
        block(model, -1).ff.layers[0] = Scaled(block(model, -1).ff.layers[0])


@kept
class PullsToPretrained(LastBlock):
    """An L2 penalty on the way from the pretrained weights."""

    def change(self, model: GPTModel) -> None:
        trained = trainable_parameters(model.trf_blocks)
        model.strategy_state["start"] = [(each, each.detach().clone()) for each in trained]

    def extra_loss(self, model: GPTModel) -> Tensor:
        pairs = model.strategy_state["start"]
        return torch.stack([(now - start).square().sum() for now, start in pairs]).sum()


@kept
class TwoGroups(LastBlock):
    def param_groups(self, model: GPTModel) -> list[dict[str, Any]]:
        own = list(model.trf_blocks[-1].parameters())
        return [{"params": own, "lr": 1e-4}, {"params": list(model.out_head.parameters())}]


@kept
class DeeperHead(Strategy):
    learning_rate: float = 3e-3

    def apply(self, model: GPTModel) -> None:
        freeze(model)
        model.out_head = nn.Sequential(nn.Linear(DIMS, 8), nn.Tanh(), nn.Linear(8, 2))  # type: ignore[assignment]


RESTORE: dict[Case, Callable[[], None]] = {PatchedFunction: PatchedFunction.restore}
