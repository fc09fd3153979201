"""The command line: ``python run_all.py ...`` in a checkout, ``headtohead ...`` anywhere.

Flags become an Experiment, the experiment runs, its report is written. Whatever is slow to import is imported
after the flags are parsed, so that --help and --list answer at once.
"""

import argparse
import importlib
import importlib.metadata
import os
import shlex
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from headtohead.core.errors import InputError
from headtohead.experiments.flags import add_flags, read_path
from headtohead.experiments.spec import Experiment
from headtohead.experiments.spec.presets import SUITES

if TYPE_CHECKING:
    from rich.console import Console

    from headtohead.experiments.live import Live

EXIT_OK, EXIT_RUN_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
# The word after ``headtohead`` -> the module whose main() answers it.
COMMANDS = {
    "classify": "headtohead.core.classify",
    "export": "headtohead.core.export.__main__",
    "generate": "headtohead.core.generate",
    "check": "headtohead.strategies.check.__main__",
}
PLAIN_WIDTH = 110
ACTIONS = (
    "list",
    "report_only",
    "dry_run",
    "input_preview",
    "compare",
    "watch",
    "merge",
)  # instead of running
EXAMPLES = """\
examples:
  {program}                                       the chapter's strategies, GPT-2 124M, SMS spam
  {program} --strategies head,last_block,lora     three of them
  {program} --strategies lora@r=4,lora@r=16+alpha=32 --seeds 123,124,125
                                                          two LoRAs, three seeds each
  {program} --strategies low-rank,head            a whole family, and the head
  {program} --set lora.learning_rate=5e-5         one hyperparameter for every lora
  {program} --weights-dir gpt2 --data SMSSpamCollection --offline
                                                          local weights and data, no network
  {program} --data reviews.csv --label-column stars --text-column review
                                                          your own labelled texts
  {program} --plugin my_strategy.py --strategies head
                                                          your own strategy beside the head
  {program} --cache-dir cache                     tomorrow's run reuses today's frozen blocks
  {program} --model demo --data demo              a small comparison that needs nothing
  {program} --dry-run                             what would be run, and what it would take
  {program} --compare results/a results/b         one report over two experiments
  {program} --launcher ray --address head:6379    on the nodes of a Ray cluster
  {program} --seeds 1,2,3 --shard 2/8             the second of eight parts, then --merge DIR DIR ...
  {program} --name sms_spam-124M --report-only    write that experiment's report again

other commands:
  headtohead classify RUN_DIR TEXT ...                    ask a classifier, or all of an experiment
  headtohead export RUN_DIR --to transformers             a folder that another library opens
  headtohead generate "Every effort moves you"            what the pretrained model itself says
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


def program_name() -> str:
    """What the user typed: ``headtohead`` or ``python run_all.py``."""
    return "headtohead" if Path(sys.argv[0]).stem == "headtohead" else "python run_all.py"


def build_parser() -> argparse.ArgumentParser:
    """Every flag with its help: those of the Experiment's fields, and what to do with it."""
    program = program_name()
    parser = _Parser(
        prog=program,
        usage=f"{program} [flags]",
        description="Finetune the same GPT-2 on the same messages by different strategies, and report which "
        "difference is real.",
        epilog=EXAMPLES.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"headtohead {_version()}")
    add_flags(parser.add_argument_group("what to compare"), Experiment)
    for name, section in Experiment.sections().items():
        add_flags(parser.add_argument_group(Experiment.TITLES[name]), section)
    _add_actions(parser.add_argument_group("instead of running"))
    return parser


def _add_actions(group: "argparse._ArgumentGroup") -> None:
    one = group.add_mutually_exclusive_group()
    one.add_argument("--list", action="store_true", help="list the strategies")
    one.add_argument("--report-only", action="store_true", help="train nothing; write the report again")
    one.add_argument("--watch", metavar="NAME", help="follow an experiment that runs on another terminal")
    one.add_argument(
        "--compare",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="one report over several experiments: their folders, or zip files that were shared",
    )
    one.add_argument(
        "--merge",
        nargs="+",
        metavar="DIR",
        help="make one experiment of the runs in these folders (results of shards), and write its report",
    )
    one.add_argument(
        "--dry-run", action="store_true", help="say what would be run and what it would take; write nothing"
    )
    one.add_argument(
        "--input-preview",
        action="store_true",
        help="show the columns found, classes, lengths and ten tokenised messages; train and write nothing",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line ``argv`` (the process's own by default) and return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words and words[0] in COMMANDS:
        return int(importlib.import_module(COMMANDS[words[0]]).main(words[1:]))
    try:
        _check_encoding(words)
        parser = build_parser()
        assert isinstance(parser, _Parser)
        return _run(parser.parse_checked(words), words)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def experiment_of(arguments: argparse.Namespace, words: Sequence[str]) -> Experiment:
    """The experiment that parsed flags ask for; ``words`` are recorded as the command."""
    given = {key: value for key, value in vars(arguments).items() if key not in ACTIONS}
    return Experiment.of(given, command=shlex.join([*program_name().split(), *words]))


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> int:
    from rich.console import Console

    # rich takes 80 columns where there is no terminal; the comparison needs a few more.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    if arguments.list:
        return _list(arguments, console)
    experiment = experiment_of(arguments, words)
    if arguments.watch is not None:
        from headtohead.experiments.follow import follow
        from headtohead.experiments.spec.output import check_name

        check_name(arguments.watch, "--watch")
        follow(experiment.output.results_dir / arguments.watch, console)
        return EXIT_OK
    from headtohead.experiments.console import starting

    with starting(console):
        from headtohead.experiments import runner
        from headtohead.experiments.live import Live

    watch = Live(console)
    if experiment.preset in SUITES:
        return _run_suite(arguments, words, watch, console)
    if arguments.compare:
        from headtohead.experiments.across import compare_folders

        output = experiment.output
        compare_folders(arguments.compare, output.results_dir, output.name, watch)
        return EXIT_OK
    if arguments.report_only:
        output = experiment.output
        runner.report_again(output.results_dir, output.name, watch, experiment.report)
        return EXIT_OK
    if arguments.merge:
        sources = [read_path(text, "--merge") for text in arguments.merge]
        runner.merge(sources, experiment.output.results_dir, experiment.output.name, watch)
        return EXIT_OK
    if arguments.dry_run:
        watch.dry_run(experiment)
        return EXIT_OK
    if arguments.input_preview:
        watch.preview(experiment)
        return EXIT_OK
    summary = runner.compare(experiment, watch)
    return EXIT_RUN_FAILED if summary.failed else EXIT_OK


def _run_suite(arguments: argparse.Namespace, words: Sequence[str], watch: "Live", console: "Console") -> int:
    """The rows of a preset such as bonus, one after another, and their table."""
    from headtohead.experiments import bonus
    from headtohead.experiments.bonus_table import print_table

    if wrong := next((name for name in ACTIONS if getattr(arguments, name, False)), None):
        raise InputError(
            f"--{wrong.replace('_', '-')} is of one experiment; leave it or --preset {arguments.preset} out"
        )
    given = {key: value for key, value in vars(arguments).items() if key not in ACTIONS}
    results = bonus.run_suite(given, shlex.join([*program_name().split(), *words]), watch)
    print_table(console, results, bonus.place_of(given))
    return EXIT_RUN_FAILED if any(result.failed for result in results) else EXIT_OK


def _list(arguments: argparse.Namespace, console: "Console") -> int:
    from headtohead.experiments.console import print_catalogue
    from headtohead.strategies._catalogue import read_catalogue

    print_catalogue(console, read_catalogue(map(Path, vars(arguments).get("plugin", ()))))
    return EXIT_OK


def _check_encoding(words: Sequence[str]) -> None:
    """InputError for an argument that is no UTF-8: no file of ours could name it."""
    for word in words:
        if any("\ud800" <= character <= "\udfff" for character in word):
            raise InputError(f"the argument {word!a} is not valid UTF-8; write it in UTF-8")


def _version() -> str:
    try:
        return importlib.metadata.version("headtohead")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
