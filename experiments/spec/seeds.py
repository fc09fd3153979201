"""Which seeds, and how many of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from headtohead.core.errors import InputError
from headtohead.experiments.flags import flag, read_count
from headtohead.strategies import did_you_mean

DEFAULT_SEED = 123
FEW_SEEDS = (123, 124, 125)  # as many as it takes to see how much the seed matters
TUNE_SEED = 23  # none of those that are compared
_LARGEST_SEED = 2**63 - 1


def parse_seeds(text: str, name: str = "--seeds") -> tuple[int, ...]:
    """``"123,124"`` -> ``(123, 124)``; whole numbers from 0, each once."""
    seeds: list[int] = []
    for item in text.split(","):
        word = item.strip()
        if not (word.isascii() and word.isdigit()) or len(word) > 19 or int(word) > _LARGEST_SEED:
            raise InputError(
                f"{name} {text}: {word!r} is not a whole number from 0 to 2^63 - 1, as in {name} 123,124"
            )
        if int(word) in seeds:
            raise InputError(f"{name} {text}: {word} is there twice; a repeated seed only repeats its run")
        seeds.append(int(word))
    return tuple(seeds)


def read_pairs(text: str, name: str) -> tuple[tuple[str, str], ...]:
    """``"head:lora,lora:dora"`` -> (("head", "lora"), ("lora", "dora"))."""
    pairs = []
    for item in text.split(","):
        first, colon, second = (part.strip() for part in item.partition(":"))
        if not (first and colon and second) or first == second:
            raise InputError(
                f"{name} {text}: {item.strip()!r} is no pair of two labels, as in {name} head:lora"
            )
        pairs.append((first, second))
    return tuple(pairs)


@dataclass(frozen=True, kw_only=True)
class SequentialSettings:
    """Seeds until pairs are settled."""

    until_settled: bool = flag(
        False,
        "--until-settled",
        "add seeds until the pairs are settled or --max-seeds is reached; looks are planned beforehand",
    )
    max_seeds: int = flag(20, "--max-seeds", "seeds of each strategy at most (default: 20)", "N", read_count)
    pairs: tuple[tuple[str, str], ...] = flag(
        (),
        "--pairs",
        "what is to be settled, such as head:lora,lora:dora (default: every pair)",
        "LIST",
        read_pairs,
    )

    def __post_init__(self) -> None:
        if not self.until_settled and (self.pairs or self.max_seeds != 20):
            raise InputError("--max-seeds and --pairs are for --until-settled; add it, or leave them out")
        if not 3 <= self.max_seeds <= 1000:
            raise InputError(f"--max-seeds {self.max_seeds}: must be from 3 to 1000")

    def check(self, labels: Sequence[str], seeds: Sequence[int] | None) -> None:
        """InputError where these strategies and first seeds cannot be looked at again and again."""
        known = dict.fromkeys(labels)
        for label in (each for pair in self.pairs for each in pair):
            if label not in known:
                raise InputError(f"--pairs: {label!r} is not compared; {did_you_mean(label, known)}")
        if self.until_settled and seeds is not None and not 2 <= len(seeds) <= self.max_seeds:
            raise InputError(
                f"--until-settled begins with {len(seeds)} of --seeds, but needs from 2 to --max-seeds {self.max_seeds}"
            )
