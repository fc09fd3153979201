"""An experiment that does not fit is refused with the numbers before its model is looked for."""

import pytest

from headtohead.core.config import CONFIGS
from headtohead.core.engine import memory
from headtohead.core.errors import InputError
from headtohead.experiments import agenda
from headtohead.experiments.spec import Experiment


def test_a_size_that_does_not_fit_is_refused_before_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: object) -> None:
        raise AssertionError("the model was looked for")

    monkeypatch.setattr(agenda, "find_inputs", find)
    monkeypatch.setattr(memory, "available_memory", lambda: 12 * 2**30)
    experiment = Experiment.of({"model": "1558M", "strategies": "head,all_layers", "device": "cpu"})
    with pytest.raises(InputError, match=r"all_layers needs about 29\.0 GiB .* but cpu has 12\.0 GiB free"):
        agenda.plan(experiment)
    smaller = Experiment.of({"model": "774M", "strategies": "head,last_block", "device": "cpu"})
    with pytest.raises(AssertionError, match="looked for"):  # it fits
        agenda.plan(smaller)
    assert memory.parameter_count(CONFIGS["774M"]) == 774_030_080
