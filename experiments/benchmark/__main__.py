"""Compare the engine's speed with that of its reference path, the book's package, and transformers + peft.

python -m experiments.benchmark --quick
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from headtohead.core.errors import InputError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
EXAMPLES = """\
examples:
  python -m experiments.benchmark --quick                 a small random model, under three minutes
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
    add("--contenders", metavar="LIST", help="ours, ours_reference, book, book_fast, transformers, ours_last_real, "
        "transformers_dynamic, book_last_real (default: all)")  # fmt: skip
    add(
        "--model",
        metavar="NAME",
        help="shape: 124M, 355M, 774M, 1558M or demo (default: 124M; demo with --quick)",
    )
    add("--weights-dir", type=Path, metavar="DIR", help="OpenAI's checkpoint (default: random weights)")
    add("--data", metavar="WHAT", help="sms_spam, demo, or a file (default: sms_spam if it was downloaded before, "
        "else demo)")  # fmt: skip
    add("--max-length", type=int, metavar="N", help="tokens kept of a message (default: the longest)")
    add("--epochs", type=int, default=5, metavar="N", help="of the run that is composed (default: 5)")
    add("--batch-size", type=int, default=8, metavar="N", help="(default: 8)")
    add("--device", default="cpu", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: cpu)")
    add("--rounds", type=int, metavar="N", help="turns of every contender (default: 3; 2 with --quick)")
    add(
        "--loss-steps",
        type=int,
        metavar="N",
        help="steps on which losses are compared (default: 5; 10 with --quick)",
    )
    add("--prefix-fraction", type=float, metavar="F", help="of the distinct messages, for the time of the frozen "
        "prefix (default: 0.1)")  # fmt: skip
    add("--full", action="store_true", help="compute the frozen prefix of every message: --prefix-fraction 1")
    add("--no-groups", action="store_true", help="leave out several seeds at once")
    add("--quick", action="store_true", help="short turns on a small model")
    add("--output", type=Path, default=Path("results/benchmark"), metavar="STEM",
        help="write STEM.json, .csv, .md and .png (default: results/benchmark)")  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure, write; returns the exit code."""
    arguments = build_parser().parse_args(argv)
    command = "python -m experiments.benchmark " + " ".join(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments, command.strip())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace, command: str) -> int:
    from rich.console import Console

    from headtohead.core.device import resolve_device
    from headtohead.core.training import TrainConfig
    from headtohead.experiments.benchmark import contenders, inputs, output, results
    from headtohead.experiments.benchmark.rounds import Benchmark
    from headtohead.strategies import build_variants, split_labels

    settings = _settings(arguments, resolve_device(arguments.device))
    variants = build_variants(split_labels(arguments.strategies))
    chosen = contenders.choose(arguments.contenders)
    console = Console(highlight=False)
    for sentence in dict.fromkeys(filter(None, map(contenders.missing, chosen))):
        console.print(f"[yellow]{sentence}; these rows stay empty[/yellow]")
    config = TrainConfig(epochs=arguments.epochs, batch_size=arguments.batch_size)
    with tempfile.TemporaryDirectory(prefix="headtohead-benchmark-") as folder:
        model = arguments.model or ("demo" if arguments.quick and arguments.weights_dir is None else None)
        pretrained = inputs.find_weights(model, arguments.weights_dir)
        dataset = inputs.find_messages(arguments.data, arguments.max_length, pretrained, Path(folder))
        title = f"{pretrained.name}, {pretrained.source}; {dataset.source}; {settings.device}"
        console.print(title, markup=False)
        benchmark = Benchmark(chosen, pretrained, dataset, config, settings, console)
        found = benchmark.run(variants)
    rows = results.summarise(found, config.batch_size)
    facts = inputs.describe(command, pretrained, dataset, config, settings, found)
    together = results.share_prefix(found, config.batch_size)
    outcome = output.Outcome(facts, inputs.notes(settings, found, dataset), rows, together, found.groups)
    paths = output.write_all(outcome, arguments.output)
    console.print(
        "\n" + output.markdown(outcome, paths[-1].name).partition("## Measured parts")[0], markup=False
    )
    console.print("written: " + ", ".join(map(str, paths)), markup=False, soft_wrap=True)
    failed = [
        row for row in rows if row.trouble and contenders.missing(contenders.BY_NAME[row.contender]) is None
    ]
    return EXIT_FAILED if failed else EXIT_OK


def _settings(arguments: argparse.Namespace, device: str) -> Any:
    from headtohead.experiments.benchmark.rounds import Settings

    settings = Settings(device=device, groups=not arguments.no_groups)
    if arguments.quick:
        settings = replace(settings, rounds=2, loss_steps=10, least_seconds=0.1, heads=20)
    for name in ("rounds", "loss_steps", "prefix_fraction"):
        if (value := getattr(arguments, name)) is not None:
            settings = replace(settings, **{name: value})
    if arguments.full:
        settings = replace(settings, prefix_fraction=1.0)
    for name, value in asdict(settings).items():
        if name in ("rounds", "loss_steps") and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    if not 0 < settings.prefix_fraction <= 1:
        raise InputError(f"--prefix-fraction {settings.prefix_fraction}: must be above 0 and at most 1")
    return settings


if __name__ == "__main__":
    sys.exit(main())
