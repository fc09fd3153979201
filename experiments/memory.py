"""Whether the device has the memory that an experiment needs, asked before anything is downloaded or loaded."""

from collections.abc import Sequence

from headtohead.core.config import CONFIGS, PUBLISHED_SIZES, GPTConfig
from headtohead.core.engine import EngineOptions
from headtohead.core.engine.memory import Load, Need, check_need, check_weights, free_memory, gib, need_of
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import TrainConfig
from headtohead.experiments.inputs import Inputs
from headtohead.experiments.spec.inputs import ModelSettings


def check_model(variants: Sequence[Variant], model: ModelSettings, options: EngineOptions) -> None:
    """Refuse a published size whose weights, gradients and optimizer are more than the device has, whatever the data.

    Its shape is known, so nothing need be found, downloaded or converted for this.

    Raises:
        InputError: with the numbers.
    """
    name = model.name  # without one the demo stands in where the weights cannot be had
    if name in PUBLISHED_SIZES:
        for variant in variants:
            if isinstance(variant.strategy, Strategy):
                variant.strategy.check(CONFIGS[name])
        check_weights(name, CONFIGS[name], options.device)
        for label, need in _needs(variants, CONFIGS[name], 2, Load(batch_tokens=0, all_tokens=0)).items():
            check_need(label, need, options.device)


def memory_needed(
    variants: Sequence[Variant], inputs: Inputs, config: TrainConfig, options: EngineOptions
) -> str:
    """What the variant that needs most will take, in words.

    Raises:
        InputError: the device has less; with the numbers.
    """
    dataset, shape = inputs.dataset, inputs.pretrained.config
    rows = sum(len(split) for split in (dataset.train, dataset.validation, dataset.test))
    load = Load(
        batch_tokens=config.batch_size * dataset.max_length,
        all_tokens=rows * dataset.max_length,
        keeps=options.allowed.cut != 0,
        recompute=options.recompute,
        budget=options.cache_budget,
    )
    needs = _needs(variants, shape, len(dataset.label_names), load)
    if not needs:
        return ""
    label, most = max(needs.items(), key=lambda item: item[1].total)
    check_need(label, most, options.device)
    free = free_memory(options.device)
    of = "" if free is None else f", of {gib(free)} free"
    return f"at most about {gib(most.total)} for {label}{of}"


def _needs(variants: Sequence[Variant], shape: GPTConfig, n_classes: int, load: Load) -> dict[str, Need]:
    """What each variant that trains the GPT takes, by its label."""
    return {
        variant.label: need_of(variant.strategy, shape, n_classes, load)
        for variant in variants
        if isinstance(variant.strategy, Strategy)
    }
