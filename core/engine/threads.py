"""How many threads a product is shared by on the CPU.

Sharing the products of a small model costs more in waiting than it saves, above all where other programs use the
cores, too; runs and chunks of messages are shared out instead.
"""

import torch

AVAILABLE = torch.get_num_threads()  # torch's choice, or OMP_NUM_THREADS
SMALL = 256  # dims of a model whose products one thread computes as fast as several


def threads_per_product(emb_dim: int) -> int:
    """Threads for the products of a model of this width."""
    return 1 if emb_dim < SMALL else AVAILABLE
