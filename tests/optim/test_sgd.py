"""Gradient descent."""

import pytest
import torch
from torch import nn

from tests.optim.gradients import coo, recorded_steps, train
from torchestimator import optim


def test_the_first_step_is_the_recorded_one():
    found = recorded_steps(optim.SGD)
    torch.testing.assert_close(found[0], torch.tensor([0.985, -1.979, 0]), rtol=0, atol=1e-6)


def test_without_momentum_there_are_no_slots():
    weight = nn.Parameter(torch.ones(2))
    optimizer = optim.SGD([weight])
    train(optimizer, weight, [torch.ones(2)])
    assert not optimizer.state[weight]


def test_momentum_keeps_the_rate_it_was_gathered_with():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = optim.SGD([weight], 1.0, momentum=0.5)
    train(optimizer, weight, [torch.ones(1)])
    optimizer.param_groups[0]["lr"] = 0.1
    train(optimizer, weight, [torch.ones(1)])
    torch.testing.assert_close(weight.detach(), torch.tensor([-1 - 0.5 - 0.1]))


def test_the_momentum_of_rows_that_are_not_touched_waits():
    weight = nn.Parameter(torch.zeros(3, 1))
    optimizer = optim.SGD([weight], 1.0, momentum=0.5)
    train(optimizer, weight, [coo(torch.tensor([row]), torch.ones(1, 1), 3) for row in (0, 1, 1)])
    torch.testing.assert_close(weight.detach(), torch.tensor([[-1.0], [-2.5], [0.0]]))


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_momentum_outside_0_to_1_is_refused(momentum):
    with pytest.raises(ValueError, match="`momentum` must be between 0 and 1"):
        optim.SGD([nn.Parameter(torch.ones(2))], momentum=momentum)
