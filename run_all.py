"""Compare finetuning strategies: ``python run_all.py --strategies head,last_block,lora``.

Flags become an Experiment, the experiment runs, its report is written: all of that is
``headtohead.experiments.command_line``, which the command ``headtohead`` runs as well.
"""

import sys

try:
    from headtohead.experiments.command_line import build_parser, main
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("headtohead"):
        raise
    sys.exit(
        "error: headtohead is not installed here; run `python -m pip install -e .` in the checkout first"
    )

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    sys.exit(main())
