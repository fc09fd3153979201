"""The command: ``headtohead export RUN_DIR --to transformers|peft|gptmodel``.

Exit codes: 0 written and verified; 2 it cannot be exported, said in one sentence.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headtohead.core.errors import command


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Export what the command line names and return the exit code."""
    options = build_parser().parse_args(arguments)
    from transformers.utils import logging

    from headtohead.core.export import export_classifier

    logging.disable_progress_bar()
    folder = export_classifier(
        options.run, options.to, options.output, weights_dir=options.weights_dir, plugin=options.plugin
    )
    print(f"written and verified: {folder}")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """The command's flags."""
    parser = argparse.ArgumentParser(
        prog="headtohead export",
        description="Write a finetuned classifier as a folder that another library opens.",
        epilog="example: headtohead export results/demo-demo/runs/head-s123-0a1b2c3d --to transformers",
    )
    parser.add_argument("run", type=Path, metavar="RUN_DIR", help="a run's folder, results/NAME/runs/RUN")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help="transformers: GPT2ForSequenceClassification with merged weights; peft: the adapter alone; "
        "gptmodel: the book's GPTModel with merged weights",
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="the folder to make (default: RUN_DIR/export-FORMAT)"
    )
    parser.add_argument(
        "--weights-dir", type=Path, help="where the base model's checkpoint is, if it has moved"
    )
    parser.add_argument("--plugin", type=Path, help="the strategy's file, if it has moved")
    return parser


if __name__ == "__main__":
    sys.exit(main())
