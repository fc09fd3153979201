"""Every strategy and every listed variant passes every check: a new file is tested by existing.

The checks themselves are in strategies/check, so that ``headtohead check NAME`` runs the same ones.
"""

from collections.abc import Iterator

import pytest
import torch

from headtohead.strategies import build_variants, discover
from headtohead.strategies.check.baselines import BASELINE_CHECKS, BaselineBench
from headtohead.strategies.check.bench import Bench
from headtohead.strategies.check.checks import CHECKS
from headtohead.strategies.check.findings import Check
from headtohead.strategies.check.report import bench_and_checks, run_check

VARIANTS = (
    "lora@r=4+alpha=8",
    "lora@bias=all+layers=1",
    "lora@bias=lora_only+targets=W_query/layers.0",
    "bottleneck@pfeiffer=true",
    "lora_book@divide_by_r=false+learning_rate=5e-5",
    "prompt_tuning@tokens=3",
    "prefix_tuning@tokens=3",
)
TITLES = tuple(dict.fromkeys(check.title for check in (*CHECKS, *BASELINE_CHECKS)))


@pytest.fixture(
    scope="module", params=[*discover(), *(pytest.param(label, marks=pytest.mark.slow) for label in VARIANTS)]
)
def subject(request: pytest.FixtureRequest) -> Iterator[tuple[Bench | BaselineBench, dict[str, Check]]]:
    """A strategy's bench, whose finetuned models all its checks share."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the models are tiny; more threads only wait for each other
    (variant,) = build_variants([request.param])
    bench, checks = bench_and_checks(variant)
    yield bench, {check.title: check for check in checks}
    torch.set_num_threads(threads)


@pytest.mark.parametrize("title", TITLES)
def test_strategy(subject: tuple[Bench | BaselineBench, dict[str, Check]], title: str) -> None:
    bench, checks = subject
    if title not in checks:
        pytest.skip("not a check of this kind of strategy")
    finding = run_check(checks[title], bench)
    assert finding.status != "failed", (
        f"{finding.text}. Usual cause: {checks[title].cause}. Fix: {checks[title].fix}."
    )
    if finding.status == "skipped":
        pytest.skip(finding.text)
