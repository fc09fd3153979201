"""The engine measured against the book's package, and transformers + peft.

    python -m experiments.benchmark --quick

``inputs`` finds weights and messages and counts what a run consists of; ``contender`` says what a contender must be
able to do, ``ours`` and ``peers`` do it; ``measure`` gives each of them its turns, every turn in a process of its
own; ``output`` makes ratios of times, a page and a plot.
"""
