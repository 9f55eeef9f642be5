"""Settings of all tests: one thread, which tiny tensors are faster on, by far on a busy machine; one compile cache."""

import os
import signal

import pytest
import torch

from torchestimator.capture.compiler import CACHE_VARIABLE

# The processes that tests start compute with one thread as well, to the same last bit.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# A shell starts what runs in its background with SIGINT ignored, and then Ctrl-C could not be tested.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def compilation_cache(tmp_path_factory):
    """One cache of compiled graphs for the whole run, unless one is given from outside; returns its path."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        yield given
        return
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("inductor"))
        patch.setenv(CACHE_VARIABLE, folder)
        yield folder


SLOW = ("recipes/test_census", "replicas/", "trainer/test_step_capture", "recipes/", "drills/", "checkpoint/test_job")
"""Files that take longest: begun first, so that no process is left with one of them at the end."""


def pytest_collection_modifyitems(items):
    """Puts slow files in front; the order within a file stays."""
    items.sort(key=lambda item: next((place for place, part in enumerate(SLOW) if part in item.nodeid), len(SLOW)))
