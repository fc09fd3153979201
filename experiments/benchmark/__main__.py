"""Compare the engine's speed with that of the book's package, and of transformers + peft.

python -m experiments.benchmark --quick
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from headtohead.core.errors import InputError, command

EXIT_OK, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
EXAMPLES = """\
examples:
  python -m experiments.benchmark --quick                 the demo model, a few minutes
  python -m experiments.benchmark                         a random model of 124M's shape: speed does not depend on
                                                          the weights' values
  python -m experiments.benchmark --strategies lora,all_layers --rounds 5
  python -m experiments.benchmark --weights-dir gpt2 --data SMSSpamCollection --full
                                                          real weights and messages, nothing sampled
  python -m experiments.benchmark --contenders ours,book --device cuda

Peers that are not installed are named with the command that installs them, and their rows stay empty.
exit codes: 0 everything measured; 1 a contender failed, the others are reported; 2 wrong flags or missing input;
130 interrupted.
"""


def build_parser() -> argparse.ArgumentParser:
    """Every flag with its help."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark",
        description="Measure contenders in turn on the same weights, batches and protocol; ratios are taken between "
        "what was measured side by side.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "--strategies",
        metavar="LIST",
        default="head,last_block,all_layers,lora",
        help="(default: %(default)s)",
    )
    add(
        "--contenders", metavar="LIST", help="ours, book, ours_last_real, transformers_dynamic (default: all)"
    )
    add("--weights-dir", type=Path, metavar="DIR", help="OpenAI's checkpoint (default: random weights)")
    add("--data", metavar="WHAT", help="sms_spam, demo, or a file (default: sms_spam if it was downloaded before, "
        "else demo)")  # fmt: skip
    add("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: cpu)")
    add("--rounds", type=int, metavar="N", help="turns of every contender (default: 3; 2 with --quick)")
    add("--loss-steps", type=int, metavar="N", help="steps of a turn, on which losses are compared and whose time is "
        "taken (default: 5; 10 with --quick)")  # fmt: skip
    add("--full", action="store_true", help="compute the frozen prefix of every message instead of a tenth")
    add("--quick", action="store_true", help="short turns on the demo model")
    add("--output", type=Path, default=Path("results/benchmark"), metavar="STEM",
        help="write STEM.json, .csv, .md and .png (default: results/benchmark)")  # fmt: skip
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, write; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    command = "python -m experiments.benchmark " + " ".join(sys.argv[1:] if argv is None else argv)
    try:
        for name in ("rounds", "loss_steps"):
            if (value := getattr(arguments, name)) is not None and value < 1:
                raise InputError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
        return _run(arguments, command.strip())
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace, command: str) -> int:
    from rich.console import Console

    from headtohead.core.device import resolve_device
    from headtohead.core.training import TrainConfig
    from headtohead.experiments.benchmark import inputs, measure, output
    from headtohead.experiments.benchmark.contender import Settings, Task
    from headtohead.strategies import build_variants, split_labels

    chosen, console = measure.choose(arguments.contenders), Console(highlight=False)
    variants, config = build_variants(split_labels(arguments.strategies)), TrainConfig()
    quick = {"rounds": 2, "loss_steps": 10, "least_seconds": 0.1, "heads": 10} if arguments.quick else {}
    asked = {name: getattr(arguments, name) for name in ("rounds", "loss_steps") if getattr(arguments, name)}
    asked |= {"prefix_fraction": 1.0} if arguments.full else {}
    settings = Settings(**{"device": resolve_device(arguments.device), **quick, **asked})
    for sentence in dict.fromkeys(filter(None, map(measure.missing, chosen))):
        console.print(f"{sentence}; these rows stay empty", style="yellow", markup=False)
    with tempfile.TemporaryDirectory(prefix="headtohead-benchmark-") as name:
        folder = Path(name)
        pretrained = inputs.find_weights(arguments.weights_dir, arguments.quick, folder)
        dataset = inputs.find_messages(arguments.data, pretrained)
        sample = inputs.choose_sample(dataset, config, settings.seed, settings.loss_steps)
        thinned = inputs.thin_out(dataset, sample, settings.prefix_fraction)
        task = Task(variants[0], pretrained, dataset, thinned, sample, config, settings, folder)
        console.print(
            f"{pretrained.name}, {pretrained.source}; {dataset.source}; {settings.device}",
            markup=False,
            soft_wrap=True,
        )
        found = measure.Benchmark(chosen, task, console).run(variants)
    page, paths = output.write_all(command, task, found, arguments.output)
    console.print("\n" + page.partition("## Measured parts")[0], markup=False, soft_wrap=True)
    console.print("written: " + ", ".join(map(str, paths)), markup=False, soft_wrap=True)
    return EXIT_FAILED if found.failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
