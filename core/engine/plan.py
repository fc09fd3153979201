"""What need not be computed again at every step, derived from the model as a strategy left it.

Nothing here asks for a strategy's name: a plan follows from which parameters train, from what of the model is
unchanged (``facts.py``), and from whether dropout draws random numbers. Where a guard fails, the plan falls back to
more work and says why; where something is not recognised at all, to the reference path.

Stages: embed, block 0 .. L-1, final norm, head; ``cut`` is the number of stages that are computed once per
distinct message (0: none, L + 2: all but the head).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from headtohead.core.engine.facts import Facts, look
from headtohead.core.engine.linear import Updates
from headtohead.core.engine.prefix import Stored
from headtohead.core.engine.products import ONEDNN, Products
from headtohead.core.engine.sequences import Sequences
from headtohead.core.model import GPTModel
from headtohead.core.readout import Readout
from headtohead.core.strategy import Strategy


@dataclass(frozen=True)
class Plan:
    """How one run is computed. All switches off is the reference path; every setting gives the same numbers.

    Attributes:
        cut: stages computed once per distinct sequence and read from the prefix cache afterwards.
        restructured: the stages behind the cut are computed by the engine's blocks, without padding where the
            protocol allows it, and evaluation in larger batches; else by calling the model's own modules.
        last_position: the last block is computed at the last position only.
        associative: there, keys and values are never built where the weights allow it.
        merged: declared low-rank updates are merged into one weight once per step.
        fused_optimizer: AdamW updates all parameters in one call.
        compact_embedding: embedding rows that do not occur in the data decay in closed form.
        onednn: matrix products by oneDNN where it is the faster library.
        half: blocks multiply in bfloat16 on a CPU, copies of the weights made once per step.
        notes: why something is not done.
    """

    cut: int = 0
    restructured: bool = False
    last_position: bool = False
    associative: bool = False
    merged: bool = False
    fused_optimizer: bool = False
    compact_embedding: bool = False
    onednn: bool = False
    half: bool = False
    notes: tuple[str, ...] = ()

    def without_prefix(self, why: str) -> "Plan":
        """The same plan with nothing computed once."""
        return replace(self, cut=0, notes=(*self.notes, why))

    def without_restructuring(self, why: str) -> "Plan":
        """The model's own modules behind the same cut."""
        return replace(
            self,
            restructured=False,
            last_position=False,
            associative=False,
            merged=False,
            compact_embedding=False,
            onednn=False,
            half=False,
            notes=(*self.notes, why),
        )

    def as_dict(self, words: list[str]) -> dict[str, Any]:
        """For the record."""
        return asdict(self) | {"notes": list(self.notes), "words": words}


ALL = Plan(
    cut=-1,  # derived
    restructured=True,
    last_position=True,
    associative=True,
    merged=True,
    fused_optimizer=True,
    compact_embedding=True,
    onednn=True,
)
REFERENCE = Plan()


def reference(why: str) -> Plan:
    """The reference path, with the reason."""
    return Plan(notes=(f"reference path: {why}",))


def derive(
    model: GPTModel,
    strategy: Strategy,
    updates: Updates,
    allowed: Plan = ALL,
    readout: Readout = Readout(),  # noqa: B008 - frozen
) -> Plan:
    """The plan for a model as a strategy left it, still to be verified.

    Args:
        model: with its trainable parameters marked and its layers inserted.
        strategy: only asked which methods of the contract it overrides.
        updates: the low-rank updates it declares.
        allowed: what may be done at all; its ``cut`` is 0 where nothing may be computed once.
        readout: what the class is read from.
    """
    facts = look(model, strategy)
    if why := facts.beyond:
        return reference(why)
    drop = _active_dropout(model)
    if drop:
        return replace(
            reference(f"dropout {drop:g} draws random numbers that depend on the order of the work"),
            fused_optimizer=allowed.fused_optimizer,
        )
    changes = "after_step" in facts.overrides
    note = "nothing is computed once: the strategy may change after a step what trains"
    cut = 0 if changes or allowed.cut == 0 else _first_own_stage(model, facts)
    if cut < 2:
        cut = 0  # a prefix of embeddings alone is cheaper to compute than to keep
    why_not = _not_restructurable(model, facts, cut)
    one = allowed.last_position and not readout.pools
    plan = Plan(
        cut=cut,
        restructured=True,
        last_position=one,
        associative=one and allowed.associative,
        # Constants of a declaration are read once, which code that runs between two steps may change.
        merged=allowed.merged and bool(updates) and not facts.steps,
        fused_optimizer=allowed.fused_optimizer,
        compact_embedding=allowed.compact_embedding and facts.plain and model.tok_emb.weight.requires_grad,
        onednn=allowed.onednn,
        half=allowed.half,
        notes=(note,) if changes else (),
    )
    if why_not or not allowed.restructured:
        return plan.without_restructuring(why_not or "the model's own modules, as asked")
    return plan


def _active_dropout(model: GPTModel) -> float:
    """The first probability other than zero."""
    return next((part.p for part in model.modules() if isinstance(part, nn.Dropout) and part.p > 0), 0.0)


def stages(model: GPTModel) -> list[tuple[str, list[nn.Module]]]:
    """The stages of the computation with the modules of each, in order."""
    blocks = [(f"block {index}", [block]) for index, block in enumerate(model.trf_blocks)]
    embed = ("the embeddings", [model.tok_emb, model.pos_emb, model.drop_emb])
    return [embed, *blocks, ("the final norm", [model.final_norm]), ("the head", [model.out_head])]


def stage_tensors(model: GPTModel, cut: int) -> Iterator[tuple[str, Any]]:
    """Names and values of the parameters in the first ``cut`` stages."""
    for stage, modules in stages(model)[:cut]:
        for index, module in enumerate(modules):
            for name, parameter in module.named_parameters():
                yield f"{stage}/{index}/{name}", parameter


def _first_own_stage(model: GPTModel, facts: Facts) -> int:
    """The number of stages before the first that trains or was changed (never the head's)."""
    places: list[tuple[str, ...]] = [("tok_emb", "pos_emb", "drop_emb")]
    places += [(f"trf_blocks.{index}",) for index in range(len(model.trf_blocks))]
    places += [("final_norm",)]
    for number, ((_, modules), names) in enumerate(zip(stages(model), places, strict=False)):
        trains = any(parameter.requires_grad for module in modules for parameter in module.parameters())
        if trains or not facts.unchanged(*names):
            return number
    return len(places)


def _not_restructurable(model: GPTModel, facts: Facts, cut: int) -> str | None:
    """Why the stages from the cut on cannot be computed by the engine's blocks; None where they can."""
    if cut == 0 and not facts.unchanged("tok_emb", "pos_emb", "drop_emb"):
        return "the model's own modules are called: the embeddings were replaced"
    for index in range(len(model.trf_blocks)):
        # The frozen blocks before the cut are not computed here, so their shape does not matter.
        if index + 1 >= cut and not facts.called_only(index):
            return f"the model's own modules are called: block {index} was changed beyond its linear layers"
    return None


def in_words(
    plan: Plan,
    n_blocks: int,
    stored: Stored | None,
    sequences: Sequences,
    rows_of_embedding: int | None,
    products: Products = ONEDNN,
) -> list[str]:
    """What a plan does, one sentence each.

    Args:
        n_blocks: L.
        stored: the hidden states at the cut, once they are there.
        sequences: the data set's distinct sequences.
        rows_of_embedding: how many rows of the token embedding are trained densely; None for all.
        products: which library computes matrix products, where the plan leaves MKL.
    """
    words = []
    if plan.cut:
        what = {n_blocks + 2: "everything but the head", n_blocks + 1: "all blocks"}.get(
            plan.cut, f"the embeddings and blocks 0 to {plan.cut - 2}"
        )
        messages = sum(len(numbers) for numbers in sequences.of_row.values())
        where = f", {stored.words}" if stored else ""
        words.append(f"{what}: once per distinct message ({len(sequences):,} of {messages:,}){where}")
    if plan.restructured and sequences.equal_length is None:
        mean = float(sequences.lengths.float().mean())
        words.append(f"no work on padding: {mean:.1f} tokens per message instead of all positions")
    if sequences.readout == Readout("first"):
        words.append("the first token alone, which sees no other")
    if plan.last_position and plan.cut <= n_blocks:
        how = ", without keys and values" if plan.associative else ""
        words.append(f"block {n_blocks - 1} at the position of the class only{how}")
    if plan.half:
        words.append(
            "blocks in bfloat16: frozen weights converted once, trained ones once per step; weights and optimizer "
            "in float32"
        )
    elif plan.merged:
        words.append(
            "inserted low-rank updates merged into one weight once per step, or kept as factors for few tokens"
        )
    if rows_of_embedding is not None:
        words.append(
            f"token embedding trained by the {rows_of_embedding:,} rows that occur; the others only decay"
        )
    if plan.fused_optimizer:
        words.append("AdamW in one fused call")
    if plan.onednn:
        words.append(products.in_words())
    words += plan.notes
    return words or ["reference path: every message through the whole model at every step"]
