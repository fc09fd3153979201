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
    ],
)
def test_what_is_read_and_what_it_sees(readout: Readout, positions: list[int], lengths: list[int]) -> None:
    assert readout.positions(LAST_REAL, 6).tolist() == positions
    assert readout.lengths(LAST_REAL, 6).tolist() == lengths


def test_only_causal_attention_may_be_planned() -> None:
    assert Readout("last").why_reference() is None
    assert "not causal" in str(Readout("last", causal=False).why_reference())


def test_unknown_readout_is_refused() -> None:
    with pytest.raises(InputError, match="'lastreal'; use last or last_real"):
        Readout("lastreal")
