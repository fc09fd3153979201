"""The command line: ``python run_all.py ...`` in a checkout, ``headtohead ...`` anywhere.

Flags become an Experiment, the experiment runs, its report is written. Whatever is slow to import is imported
after the flags are parsed, so that --help and --list answer at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from headtohead.core.errors import InputError
from headtohead.experiments import spec
from headtohead.strategies import DEFAULT

EXIT_OK, EXIT_RUN_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
# The word after ``headtohead`` -> the module whose main() answers it.
COMMANDS = {"classify": "headtohead.core.classifier", "check": "headtohead.strategies.check.__main__"}
PLAIN_WIDTH = 110
EXAMPLES = """\
examples:
  python run_all.py                                       the chapter's strategies, GPT-2 124M, SMS spam
  python run_all.py --strategies head,last_block,lora     three of them
  python run_all.py --strategies lora@r=4,lora@r=16+alpha=32 --seeds 123,124,125
                                                          two LoRAs, three seeds each
  python run_all.py --set lora.learning_rate=5e-5         one hyperparameter for every lora
  python run_all.py --weights-dir gpt2 --data SMSSpamCollection --offline
                                                          local weights and data, no network
  python run_all.py --data reviews.csv --label-column stars --text-column review
                                                          your own labelled texts
  python run_all.py --plugin my_strategy.py --strategies head
                                                          your own strategy beside the head
  python run_all.py --cache-dir cache                     tomorrow's run reuses today's frozen blocks
  python run_all.py --model demo --data demo              a small comparison that needs nothing
  python run_all.py --name sms_spam-124M --report-only    write that experiment's report again

other commands:
  headtohead classify RUN_DIR TEXT ...                    ask a finetuned classifier
  headtohead check NAME|FILE                              does a strategy keep its word?

exit codes: 0 all runs ok; 1 some run failed, the others are reported; 2 wrong flags or missing input;
130 interrupted, finished runs are kept and the same command continues.
"""


class _Parser(argparse.ArgumentParser):
    """argparse with the usage left out of errors, which are one sentence here."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"error: {message} (--help lists the flags)\n")

    def parse_checked(self, argv: Sequence[str]) -> argparse.Namespace:
        """Parse; a flag that does not exist is an error that names the nearest one that does."""
        arguments, unknown = self.parse_known_args(argv)
        if not unknown:
            return arguments
        wrong = next((word for word in unknown if word.startswith("-")), unknown[0])
        near = get_close_matches(wrong.partition("=")[0], self._option_string_actions, n=1, cutoff=0.5)
        self.error(f"there is no flag {wrong!r}" + (f"; did you mean {near[0]}?" if near else ""))


def build_parser() -> argparse.ArgumentParser:
    """Every flag with its help; a default of None means that the preset or the program chooses."""
    parser = _Parser(
        prog=program_name(),
        description="Finetune the same GPT-2 on the same messages by different strategies, and report which "
        "difference is real.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_what(parser.add_argument_group("what to compare"))
    _add_input(parser.add_argument_group("model and data"))
    _add_protocol(parser.add_argument_group("protocol (defaults: the preset's)"))
    _add_output(parser.add_argument_group("device and results"))
    _add_engine(parser.add_argument_group("speed (none of these changes a number)"))
    return parser


def _add_what(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--strategies",
        metavar="LIST",
        help="strategies separated by commas; NAME@FIELD=VALUE+FIELD=VALUE sets hyperparameters "
        f"(default: {','.join(DEFAULT)})",
    )
    group.add_argument(
        "--set",
        action="append",
        metavar="NAME.FIELD=VALUE",
        help="a hyperparameter of every variant of a strategy; may be repeated",
    )
    group.add_argument(
        "--plugin",
        action="append",
        metavar="FILE",
        help="a strategy file from anywhere; the strategy is named like the file; may be repeated",
    )
    group.add_argument("--seeds", metavar="LIST", help="seeds separated by commas (default: 123)")
    group.add_argument("--list", action="store_true", help="list the strategies and exit")


def _add_input(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--model", metavar="NAME", help="124M, 355M, 774M, 1558M or demo (default: 124M, else demo)"
    )
    group.add_argument(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="folder with OpenAI's checkpoint: DIR/124M/{checkpoint,hparams.json,model.ckpt.*} or DIR itself",
    )
    group.add_argument(
        "--data",
        metavar="WHAT",
        help="sms_spam, demo, or a file: SMSSpamCollection, UCI's zip, any CSV or TSV with a label and a text "
        "column (default: sms_spam, else demo)",
    )
    group.add_argument("--label-column", metavar="NAME", help="the label's column in --data FILE")
    group.add_argument("--text-column", metavar="NAME", help="the text's column in --data FILE")
    group.add_argument(
        "--no-balance",
        dest="balance",
        action="store_false",
        default=None,
        help="keep all rows instead of as many of every class as the rarest has",
    )
    group.add_argument("--offline", action="store_true", help="do not try to download anything")


def _add_protocol(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--preset", default="book", metavar="NAME", help="protocol to start from (default: book)"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the training messages (book: 5)")
    group.add_argument("--batch-size", type=int, metavar="N", help="messages per step (book: 8)")
    group.add_argument(
        "--max-length",
        type=int,
        metavar="N",
        help="tokens kept of a message (book: the longest training message)",
    )
    group.add_argument(
        "--position",
        metavar="WHERE",
        help="token whose logits classify: last (book, padding included) or last_real (before the padding)",
    )


def _add_output(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)"
    )
    group.add_argument(
        "--precision",
        default="fp32",
        metavar="NAME",
        help="fp32 (default; the only one that claims the book's numbers), tf32 or bf16",
    )
    group.add_argument(
        "--results-dir", type=Path, default=Path("results"), metavar="DIR", help="(default: results)"
    )
    group.add_argument("--name", metavar="NAME", help="the experiment's folder (default: DATA-MODEL)")
    group.add_argument("--force", action="store_true", help="do finished runs again, too")
    group.add_argument("--report-only", action="store_true", help="train nothing; write the report again")


def _add_engine(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--reference", action="store_true", help="compute everything the plain, slow way")
    group.add_argument(
        "--no-cache",
        dest="cache",
        action="store_false",
        help="compute the frozen blocks again at every step instead of once per message",
    )
    group.add_argument(
        "--cache-dir",
        type=Path,
        metavar="DIR",
        help="keep what the frozen blocks computed there, so that tomorrow's run starts training at once",
    )
    group.add_argument(
        "--cache-budget",
        metavar="SIZE",
        help="memory for it, such as 500MB; beyond it a memory-mapped file is used (default: half of what is free)",
    )
    group.add_argument(
        "--compile",
        action="store_true",
        help="compile what is left with torch.compile: seconds to minutes at the start, a few percent per step",
    )
    group.add_argument(
        "--one-at-a-time",
        dest="together",
        action="store_false",
        help="never run several seeds at once; their times are then those of runs alone",
    )


def program_name() -> str:
    """What the user typed: ``headtohead`` or ``python run_all.py``."""
    return "headtohead" if Path(sys.argv[0]).stem == "headtohead" else "python run_all.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (the process's own by default) and return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return int(importlib.import_module(COMMANDS[words[0]]).main(words[1:]))
    parser = build_parser()
    assert isinstance(parser, _Parser)
    arguments = parser.parse_checked(words)
    try:
        return _run(arguments, words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("interrupted before the first run began", file=sys.stderr)
        return EXIT_INTERRUPTED


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    from rich.console import Console

    # rich takes 80 columns where there is no terminal; the comparison needs a few more.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if arguments.list:
        from headtohead.experiments.console import print_catalogue
        from headtohead.strategies._catalogue import read_catalogue

        print_catalogue(console, read_catalogue(map(Path, arguments.plugin or ())))
        return EXIT_OK
    if arguments.report_only:
        from headtohead.experiments.runner import report_again

        report_again(arguments.results_dir, arguments.name, console)
        return EXIT_OK
    experiment = spec.from_arguments(arguments, words)
    from headtohead.experiments.runner import run

    result = run(experiment, console)
    if result.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_RUN_FAILED if result.failed else EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
