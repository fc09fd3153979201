"""The command of :mod:`strategies.docs`."""

import argparse
import sys
from collections.abc import Sequence

from headtohead.core.files import write_text_atomic
from headtohead.strategies._catalogue import read_catalogue
from headtohead.strategies.docs import PAGE, page


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or check it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m strategies.docs", description="Write strategies/README.md."
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where the page is out of date"
    )
    arguments = parser.parse_args(argv)
    text = page(read_catalogue())
    if not arguments.check:
        write_text_atomic(PAGE, text)
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is out of date; run python -m strategies.docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
