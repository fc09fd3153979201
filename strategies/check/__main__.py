"""The command: ``headtohead check NAME|FILE [--set NAME.FIELD=VALUE]``.

Exit codes: 0 everything passed; 1 some check failed; 2 there is no such strategy.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headtohead.core.errors import InputError
from headtohead.strategies import build_variants

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
PLAIN_WIDTH = 110


def main(argv: Sequence[str] | None = None) -> int:
    """Check the strategies of the command line and return the exit code."""
    arguments = build_parser().parse_args(argv)
    plugins = [Path(item) for item in arguments.strategy if item.endswith(".py")]
    labels = [Path(item).stem if item.endswith(".py") else item for item in arguments.strategy]
    try:
        variants = build_variants(labels, arguments.set or (), plugins)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    import torch
    from rich.console import Console

    from headtohead.strategies.check.report import print_results, run_checks

    torch.set_num_threads(1)  # the models are tiny; more threads only wait for each other
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    failed = False
    for variant in variants:
        results = list(run_checks(variant))
        print_results(console, variant, results)
        failed = failed or any(result.finding.status == "failed" for result in results)
    return EXIT_FAILED if failed else EXIT_OK


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="headtohead check",
        description="Check that a strategy is what it says, on a tiny GPT: a few seconds.",
        epilog="examples: headtohead check lora@r=4    python -m strategies.check my_strategy.py",
    )
    parser.add_argument(
        "strategy", nargs="+", metavar="NAME|FILE", help="a strategy's name or label, or a Python file"
    )
    parser.add_argument(
        "--set", action="append", metavar="NAME.FIELD=VALUE", help="a hyperparameter; may be repeated"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
