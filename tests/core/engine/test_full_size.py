"""GPT-2 124M at its full size, from a random checkpoint in OpenAI's format: what each strategy trains, and one step."""

from itertools import islice
from pathlib import Path

import pytest

from headtohead import strategies
from headtohead.core.config import CONFIGS
from headtohead.core.engine import Engine, Job
from headtohead.core.engine.fit import prepare_run, train_run
from headtohead.core.training import TrainConfig, protocol, row_loaders
from headtohead.core.weights import Pretrained, find_pretrained
from tests import small
from tests.checkpoints import write_checkpoint

pytestmark = pytest.mark.slow
TRAINED = {"head": 1_538, "last_block": 7_090_946, "all_layers": 124_441_346, "lora": 2_655_746}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    folder = write_checkpoint(tmp_path_factory.mktemp("weights") / "124M", CONFIGS["124M"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADTOHEAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        return find_pretrained("124M", folder)


@pytest.mark.parametrize("name", TRAINED)
def test_one_step_of_each_strategy(name: str, pretrained: Pretrained, tmp_path: Path) -> None:
    config = TrainConfig(epochs=1)
    engine = Engine(pretrained, small.dataset(), config)
    (variant,) = strategies.build_variants([name])
    run = prepare_run(engine, Job(variant, 123, tmp_path / "classifier"), lambda progress: None)
    assert run.trainable_params == TRAINED[name]
    before = run.model.out_head.weight.detach().clone()
    events = islice(protocol(row_loaders(engine.dataset, config.batch_size), config), 1)
    history = train_run(engine, run, events, lambda progress: None)
    assert history.steps == 1
    assert not before.equal(run.model.out_head.weight)
