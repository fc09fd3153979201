"""A small model and a small data set for tests that need real training but no real size."""

from functools import lru_cache, partial

import pytest
import torch

from headtohead.core import sources
from headtohead.core.config import CONFIGS, DEMO_MODEL, GPTConfig
from headtohead.core.data import Dataset, Split
from headtohead.core.model import GPTModel
from headtohead.core.tokens import encode_texts
from headtohead.core.weights import Pretrained, demo
from headtohead.core.weights.random import random_pretrained, random_tensors

TINY_DEMO = GPTConfig(emb_dim=16, n_layers=2, n_heads=2, context_length=64)
CONFIG = GPTConfig(vocab_size=50257, context_length=64, emb_dim=32, n_layers=3, n_heads=4)


def pretrained(config: GPTConfig = CONFIG) -> Pretrained:
    """Random weights of a spread larger than GPT-2's, so that every path through the model matters."""
    return random_pretrained("random", config, seed=1, source="random", is_demo=True, spread=0.1)


def random_model(config: GPTConfig = CONFIG) -> GPTModel:
    """The same random model at every call."""
    return pretrained(config).build()


def use_tiny_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the demo model a tiny one of random weights, for this process."""
    monkeypatch.setitem(CONFIGS, DEMO_MODEL, TINY_DEMO)
    monkeypatch.setattr(demo, "read_tensors", partial(random_tensors, TINY_DEMO, seed=20190214))


@lru_cache
def dataset(rows: int = 96, max_length: int = 24) -> Dataset:
    """Some messages of the demo corpus, with a few that occur twice, split 60 / 15 / 25."""
    lines = sources.find("demo", download=False).content.decode("utf-8").splitlines()[: rows - 4]
    pairs = [line.split("\t", 1) for line in lines]
    pairs += pairs[:4]
    first, second = int(0.6 * rows), int(0.75 * rows)
    parts = (pairs[:first], pairs[first:second], pairs[second:])
    train, validation, test = (_split(part, max_length) for part in parts)
    labels = ("ham", "spam")
    source = "part of the demo corpus"
    return Dataset("small", source, labels, train, validation, test, max_length, "0" * 64, {}, True, 4)


def _split(pairs: list[list[str]], max_length: int) -> Split:
    texts = tuple(text for _, text in pairs)
    token_ids, last_position = encode_texts(texts, max_length)
    labels = torch.tensor([int(label == "spam") for label, _ in pairs])
    return Split(texts, token_ids, last_position, labels)
