"""Adagrad."""

import pytest
import torch
from torch import nn

from tests.optim.gradients import coo, recorded_steps, train
from torchestimator import optim


@pytest.mark.parametrize("epsilon", [1e-7, 0], ids=["v2", "v1"])
def test_three_steps_are_the_recorded_ones(epsilon):
    found = recorded_steps(lambda params: optim.Adagrad(params, 0.05, epsilon=epsilon))
    expected = [[0.951075, -1.950557, 0], [0.916703, -1.915827, 0], [0.888839, -1.887631, 0]]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=1e-6)


def test_rows_that_a_sparse_gradient_does_not_touch_stay_as_they_are():
    weight = nn.Parameter(torch.ones(4, 2))
    optimizer = optim.Adagrad([weight], 0.1)
    train(optimizer, weight, [coo(torch.tensor([2, 2]), torch.ones(2, 2), 4)])
    untouched = torch.tensor([0, 1, 3])
    assert torch.equal(weight[untouched], torch.ones(3, 2))
    assert torch.equal(optimizer.state[weight]["accumulator"][untouched], torch.full((3, 2), 0.1))
    torch.testing.assert_close(optimizer.state[weight]["accumulator"][2], torch.full((2,), 4.1))


def test_a_denominator_that_may_be_0_is_refused():
    with pytest.raises(ValueError, match="`initial_accumulator_value` and `epsilon` must not both be 0"):
        optim.Adagrad([nn.Parameter(torch.ones(2))], initial_accumulator_value=0, epsilon=0)
