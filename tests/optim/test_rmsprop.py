"""RMSProp."""

import pytest
import torch
from torch import nn

from tests.optim.gradients import coo, recorded_steps, train
from torchestimator import optim
from torchestimator.optim.rows import SMALL_TABLE


def test_three_steps_are_the_recorded_ones():
    expected = [[0.996838, -1.996838, 0], [0.994546, -1.994545, 0], [0.992628, -1.992626, 0]]
    torch.testing.assert_close(recorded_steps(optim.RMSProp), torch.tensor(expected), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("rows", "options", "decayed"),
    [
        (5, {}, True),
        (5, {"lazy": True}, False),
        (5, {"momentum": 0.5, "lazy": False}, False),
        (SMALL_TABLE, {}, False),
        (SMALL_TABLE, {"lazy": False}, True),
    ],
)
def test_mean_squares_of_other_rows_decay_where_they_do_in_tensorflow_and_the_table_is_small(rows, options, decayed):
    weight = nn.Parameter(torch.ones(rows, 2))
    optimizer = optim.RMSProp([weight], **options)
    train(optimizer, weight, [coo(torch.tensor([row, row]), torch.ones(2, 2), rows) for row in (1, 2)])
    expected = 0.4 * 0.9 if decayed else 0.4
    torch.testing.assert_close(optimizer.state[weight]["rms"][1], torch.full((2,), expected))
    assert torch.equal(weight[3:], torch.ones(rows - 3, 2))


def test_a_constant_gradient_has_no_variance_and_gives_no_nan():
    weight = nn.Parameter(torch.ones(50))
    gradients = [torch.linspace(0.1, 3, 50)] * 400
    train(optim.RMSProp([weight], centered=True), weight, gradients)
    assert weight.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 1.0}, "`rho` must be at least 0 and below 1"),
        ({"momentum": 1.5}, "`momentum` must be between 0 and 1. Received: 1.5"),
        ({"epsilon": 0.0}, "`epsilon` must be positive"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        optim.RMSProp([nn.Parameter(torch.ones(2))], **options)
