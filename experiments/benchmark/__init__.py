"""The engine measured against its own reference path, the book's package, and transformers + peft.

    python -m experiments.benchmark --quick

``work`` counts what a protocol consists of and chooses the messages to measure on; ``ours`` and ``peers`` are the
contenders; ``worker`` runs one of them in a process of its own; ``rounds`` measures them in turn; ``groups``
measures several seeds at once; ``results`` turns times into ratios; ``output`` writes them down.
"""
