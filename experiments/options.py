"""How the engine computes what an experiment asks for."""

from dataclasses import replace

from headtohead.core.device import resolve_device
from headtohead.core.engine import ALL, REFERENCE, EngineOptions
from headtohead.experiments.spec import Experiment


def engine_options(experiment: Experiment) -> EngineOptions:
    """Where and how to compute, as the flags say."""
    settings, device = experiment.engine, _device(experiment)
    allowed = REFERENCE if settings.reference else ALL if settings.cache else replace(ALL, cut=0)
    return EngineOptions(
        device=device,
        precision=settings.precision,
        half_prefix=settings.half_prefix and device == "cpu",
        allowed=allowed,
        cache_dir=settings.cache_dir,
        cache_budget=settings.cache_budget,
        compile=settings.compile,
        together=settings.together,
        recompute=settings.recompute,
    )


def _device(experiment: Experiment) -> str:
    """The device of the runs; in a cluster it need not be here."""
    wanted, launch = experiment.engine.device, experiment.launch
    if launch.launcher == "local":
        return resolve_device(wanted)
    return "cuda" if wanted == "cuda" or (wanted == "auto" and launch.gpus_per_run) else "cpu"


def planning_options(experiment: Experiment, options: EngineOptions) -> EngineOptions:
    """The options of this process's engine: it plans on the CPU what a cluster does on its own devices."""
    if experiment.launch.launcher == "local":
        return options
    precision = options.precision if options.device == "cpu" else "fp32"
    return replace(options, stands_for=options, device="cpu", precision=precision)
