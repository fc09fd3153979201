"""One thread per process: the models of the tests are tiny, and more threads would only wait for each other."""

import os

# Before anything imports torch; processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
