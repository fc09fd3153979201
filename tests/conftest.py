"""One thread per process: the models of the tests are tiny, and more threads would only wait for each other."""

import gc
import importlib
import os

import pytest

# Before anything imports torch; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
LARGE = ("torch._dynamo", "transformers", "peft", "sklearn.linear_model", "matplotlib.figure", "pandas")
MANY = 500  # tests of which some will import all of these anyway
GROWN = 100_000  # objects, which are searched in some 50 ms


def pytest_collection_finish(session: pytest.Session) -> None:
    """Every run collects garbage before it measures memory: what stays for the whole session need not be searched."""
    if len(session.items) > MANY:
        for name in LARGE:
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After a file whose tests imported more, that stays, too."""
    if nextitem is not None and nextitem.path != item.path and len(gc.get_objects()) > GROWN:
        gc.collect()
        gc.freeze()
