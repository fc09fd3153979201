"""Packs an experiment into one zip file for somebody else:

    python -m headtohead.experiments.share NAME [--results-dir results] [--output NAME.zip]

The file holds the report, the records with what they were made on, and the data that was tested on; not the
classifiers. On another machine ``python run_all.py --compare NAME.zip results/OURS`` sets it beside its own results.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from headtohead.core.errors import command
from headtohead.experiments.archive import pack
from headtohead.experiments.spec.output import check_name
from headtohead.experiments.wording import short_bytes


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m headtohead.experiments.share",
        description="Pack an experiment's report, records and data into one zip file, without its classifiers.",
    )
    parser.add_argument("name", metavar="NAME", help="the experiment's folder below --results-dir")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="(default: results)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="the zip file (default: NAME.zip here)")
    options = parser.parse_args(arguments)
    check_name(options.name)
    target = options.output or Path(f"{options.name}.zip")
    size = pack(options.results_dir / options.name, target)
    print(f"{target}  ({short_bytes(size)}; it holds the messages of data/*.csv)")
    print(f"elsewhere: python run_all.py --compare {target.name} results/NAME")
    return 0


if __name__ == "__main__":
    sys.exit(main())
