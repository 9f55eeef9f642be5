"""Seeds of names, and random states that are put back."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchestimator.model.seeds import derive_seed, forked_random


def draw():
    return torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()


def test_seeds_are_fixed_numbers():
    # They decide the initial weights of everyone's models: they must not change from release to release.
    assert derive_seed(0, "net") == 4177070130767583765
    assert derive_seed(1, "net") == 8582462055085514232
    assert derive_seed(2**70, "tower/net") == 3359597109209201985


@given(st.integers(), st.text(), st.text())
def test_names_have_different_seeds_in_range(base, one, other):
    assert 0 <= derive_seed(base, one) < 2**63
    assert (derive_seed(base, one) == derive_seed(base, other)) == (one == other)


def test_a_fork_with_a_seed_repeats():
    with forked_random(seed=3):
        first = draw()
    with forked_random(torch.device("cpu"), 3):
        assert draw() == first
    with forked_random(seed=4):
        assert draw() != first


def test_a_fork_without_a_seed_goes_on_from_the_present_state():
    with forked_random():
        inside = draw()
    assert draw() == inside


@pytest.mark.parametrize("error", [None, KeyError])
def test_the_generators_are_put_back(error):
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    expected = draw()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    try:
        with forked_random(seed=9):
            draw()
            if error is not None:
                raise error
    except KeyError:
        pass
    assert draw() == expected
