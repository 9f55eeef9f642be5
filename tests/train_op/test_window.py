"""Accumulation windows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchestimator.train_op.window import Window

WEIGHTS = st.lists(st.integers(0, 1000), min_size=1, max_size=6)


def mean_of(window, weights, gradients):
    """What a loop makes of gradients 1, 2, ...: scaled one by one, summed, corrected."""
    total = sum(gradient * window.take(weight) for weight, gradient in zip(weights, gradients, strict=True))
    correction = window.correction()
    return total if correction is None else total * correction


@given(WEIGHTS, st.integers(0, 3), st.booleans())
def test_a_window_gives_the_weighted_mean(weights, missing, as_tensors):
    gradients = [float(index + 1) for index in range(len(weights))]
    window = Window(len(weights) + missing)
    given_weights = [torch.tensor(float(weight)) for weight in weights] if as_tensors else weights
    mean = float(mean_of(window, given_weights, gradients))
    expected = sum(w * g for w, g in zip(weights, gradients, strict=True)) / (sum(weights) or 1)
    assert mean == pytest.approx(expected, rel=1e-4)
    assert window.filled == len(weights)
    assert window.is_full == (missing == 0)


@given(st.integers(1, 100), st.integers(1, 6))
def test_equal_weights_need_no_correction(weight, size):
    window = Window(size)
    assert [window.take(weight) for _ in range(size)] == [1 / size] * size
    assert window.correction() is None


def test_an_update_begins_a_new_window():
    window = Window(2)
    mean_of(window, [3, 9], [1, 1])
    window.filled = 0
    assert mean_of(window, [5, 5], [1.0, 2.0]) == 1.5


@given(WEIGHTS, WEIGHTS, st.integers(1, 12), st.integers(1, 12))
def test_a_loaded_window_goes_on(before, after, old_size, new_size):
    old, new = Window(old_size), Window(new_size)
    gradient = 1.0
    accumulated = sum(gradient * old.take(weight) for weight in before)
    factor = new.load_state_dict(old.state_dict())
    assert factor == old_size / new_size
    assert new.filled == len(before)
    total = accumulated * factor + sum(3 * gradient * new.take(weight) for weight in after)
    correction = new.correction()
    expected = (sum(before) + 3 * sum(after)) / (sum(before) + sum(after) or 1)
    assert total * (1 if correction is None else correction) == pytest.approx(expected, rel=1e-6)


def test_the_state_is_plain_numbers():
    window = Window(3)
    assert window.state_dict() == {"size": 3, "filled": 0, "unit": 1.0, "total": 1.0}
    window.take(torch.tensor([4.0], requires_grad=True))
    window.take(6)
    assert window.state_dict() == {"size": 3, "filled": 2, "unit": 4.0, "total": 10.0}
    window.filled = 0
    assert window.state_dict() == {"size": 3, "filled": 0, "unit": 1.0, "total": 1.0}
