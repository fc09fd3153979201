"""A readout says which position classifies and which tokens can matter to it."""

import pytest
import torch

from headtohead.core.errors import InputError
from headtohead.core.readout import Readout

LAST_REAL = torch.tensor([0, 2, 5])


@pytest.mark.parametrize(
    ("readout", "positions", "lengths"),
    [
        (Readout("last"), [5, 5, 5], [6, 6, 6]),
        (Readout("last_real"), [0, 2, 5], [1, 3, 6]),
        (Readout("last_real", causal=False), [0, 2, 5], [6, 6, 6]),
        (Readout("first"), [0, 0, 0], [1, 1, 1]),
        (Readout("mean"), None, [6, 6, 6]),
    ],
)
def test_what_is_read_and_what_it_sees(
    readout: Readout, positions: list[int] | None, lengths: list[int]
) -> None:
    found = readout.positions(LAST_REAL, 6)
    assert (None if found is None else found.tolist()) == positions
    assert readout.lengths(LAST_REAL, 6).tolist() == lengths


def test_unknown_readout_is_refused() -> None:
    with pytest.raises(InputError, match="'lastreal'; use last, last_real, first or mean"):
        Readout("lastreal")
