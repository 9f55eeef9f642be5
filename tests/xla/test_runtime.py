"""Finding torch_xla."""

import importlib.util

import pytest

from torchestimator.xla import XlaStrategy, counters
from torchestimator.xla.runtime import check_releases


def test_releases_must_be_the_same():
    check_releases("2.9.0+cpu", "2.9.1")
    with pytest.raises(RuntimeError, match=r"Received: torch 2\.13\.0 and torch_xla 2\.9\.0\. Write: pip install"):
        check_releases("2.13.0", "2.9.0")


@pytest.mark.skipif(importlib.util.find_spec("torch_xla") is not None, reason="torch_xla is installed")
@pytest.mark.parametrize("needs_it", [XlaStrategy, counters])
def test_without_torch_xla_the_error_says_what_to_install(needs_it):
    with pytest.raises(ImportError, match=r"pip install 'torchestimator\[xla\]'"):
        needs_it()
