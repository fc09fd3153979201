"""Whether the device has the memory that an experiment needs, asked before anything is downloaded or loaded."""

from collections.abc import Sequence

from headtohead.core.config import CONFIGS, DEFAULT_MODEL, PUBLISHED_SIZES
from headtohead.core.engine import EngineOptions
from headtohead.core.engine.memory import Load, check_need, check_weights, free_memory, gib, need_of
from headtohead.core.strategy import Strategy, Variant
from headtohead.core.training import TrainConfig
from headtohead.experiments.inputs import Inputs
from headtohead.experiments.spec import ModelSettings


def check_model(model: ModelSettings, options: EngineOptions) -> None:
    """Refuse a published size whose weights alone are more than the device has.

    Raises:
        InputError: with the numbers.
    """
    name = model.name or DEFAULT_MODEL
    if name in PUBLISHED_SIZES and (model.name or model.weights_dir is None):
        check_weights(name, CONFIGS[name], options.device)


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
    classes = len(dataset.label_names)
    needs = {
        variant.label: need_of(variant.strategy, shape, classes, load)
        for variant in variants
        if isinstance(variant.strategy, Strategy)
    }
    if not needs:
        return ""
    label, most = max(needs.items(), key=lambda item: item[1].total)
    check_need(label, most, options.device)
    free = free_memory(options.device)
    of = "" if free is None else f", of {gib(free)} free"
    return f"at most about {gib(most.total)} for {label}{of}"
