"""Names, shapes and defaults that are said once; nothing here imports torch, so flags can be checked at once.

Source of the shapes: Radford et al. (2019), "Language Models are Unsupervised Multitask Learners", table 2.
"""

import re
from dataclasses import dataclass

VOCABULARY = 50257  # tokens of GPT-2's byte-pair encoding
END_OF_TEXT = 50256  # its only special token, with which the chapter pads


# The largest shape that is believed; the largest GPT-2 has 48 layers of 1,600 dims.
LIMITS = {
    "vocab_size": 1_000_000,
    "context_length": 1_000_000,
    "emb_dim": 65_536,
    "n_layers": 512,
    "n_heads": 1_024,
}


@dataclass(frozen=True)
class GPTConfig:
    """The shape of one GPT-2 model; ``emb_dim`` must be a multiple of ``n_heads``.

    ``causal``: a token attends to itself and those before it only, as GPT-2 was pretrained; else to all.
    """

    vocab_size: int = VOCABULARY
    context_length: int = 1024
    emb_dim: int = 768
    n_layers: int = 12
    n_heads: int = 12
    drop_rate: float = 0.0
    qkv_bias: bool = True
    causal: bool = True

    def __post_init__(self) -> None:
        if self.emb_dim % self.n_heads:
            raise ValueError(f"emb_dim {self.emb_dim} is not a multiple of n_heads {self.n_heads}")

    @property
    def hidden_dim(self) -> int:
        """Neurons of a block's perceptron."""
        return 4 * self.emb_dim


CONFIGS = {
    "124M": GPTConfig(emb_dim=768, n_layers=12, n_heads=12),
    "355M": GPTConfig(emb_dim=1024, n_layers=24, n_heads=16),
    "774M": GPTConfig(emb_dim=1280, n_layers=36, n_heads=20),
    "1558M": GPTConfig(emb_dim=1600, n_layers=48, n_heads=25),
    "demo": GPTConfig(emb_dim=128, n_layers=4, n_heads=4, context_length=256),
}
DEFAULT_MODEL = "124M"
DEMO_MODEL = "demo"
PUBLISHED_SIZES = tuple(name for name in CONFIGS if name != DEMO_MODEL)  # what OpenAI published
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
HUB_PREFIX = "hf:"  # before the name of a model on the Hugging Face Hub
RANDOM_PREFIX = "random:"  # before the name of a model whose shape is taken, and not its values
