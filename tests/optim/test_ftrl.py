"""Ftrl."""

import pytest
import torch
from torch import nn

from tests.optim.gradients import coo, recorded_steps, train
from torchestimator import optim
from torchestimator.optim.ftrl import ftrl_


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0.598017, -1.504418], [0.481556, -1.383858], [0.389210, -1.286469]]),
        (
            {"l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2},
            [[0.555957, -1.440727], [0.447178, -1.326756], [0.359823, -1.233703]],
        ),
    ],
)
def test_three_steps_are_the_recorded_ones(options, expected):
    found = recorded_steps(lambda params: optim.Ftrl(params, 0.2, **options))
    torch.testing.assert_close(found[:, :2], torch.tensor(expected), rtol=0, atol=1e-6)
    assert torch.equal(found[:, 2], torch.zeros(3))


def test_a_dense_gradient_of_0_takes_a_weight_to_0_and_a_sparse_one_leaves_other_rows():
    dense, sparse = nn.Parameter(torch.full((3, 2), 0.7)), nn.Parameter(torch.full((3, 2), 0.7))
    train(optim.Ftrl([dense], 0.1), dense, [torch.zeros(3, 2)])
    train(optim.Ftrl([sparse], 0.1), sparse, [coo(torch.tensor([1]), torch.zeros(1, 2), 3)])
    assert torch.equal(dense, torch.zeros(3, 2))
    assert torch.equal(sparse, torch.tensor([[0.7, 0.7], [0, 0], [0.7, 0.7]]))


def test_an_accumulator_of_0_is_not_divided_by():
    weight = nn.Parameter(torch.ones(2))
    train(optim.Ftrl([weight], 0.1, initial_accumulator_value=0), weight, [torch.tensor([0.0, 1.0])])
    assert weight[0] == 0
    assert weight.isfinite().all()


def test_l1_makes_weights_exactly_0():
    weight = nn.Parameter(torch.ones(3))
    train(optim.Ftrl([weight], 0.1, l1_regularization_strength=50.0), weight, [torch.ones(3)])
    assert torch.equal(weight, torch.zeros(3))


def test_the_functional_core_is_the_paper_s_update():
    w, n, z, g = 0.4, 0.2, -0.3, 0.5
    tensors = [[torch.tensor([value], dtype=torch.float64)] for value in (w, n, z, g)]
    ftrl_(*tensors, rate=0.1, power=-0.5, l1=0.05, l2=0.3, beta=0.2)
    grown = n + g * g
    linear = z + g - (grown**0.5 - n**0.5) / 0.1 * w
    expected = ((0.05 if linear > 0 else -0.05) - linear) / ((0.2 + grown**0.5) / 0.1 + 2 * 0.3)
    assert abs(linear) > 0.05
    assert float(tensors[0][0]) == pytest.approx(expected)


def test_a_rate_of_0_is_refused_also_when_a_schedule_comes_to_it():
    weight = nn.Parameter(torch.ones(2))
    optimizer = optim.Ftrl([weight], 0.1)
    optimizer.param_groups[0]["lr"] = 0.0
    with pytest.raises(ValueError, match="above 0 at every step"):
        train(optimizer, weight, [torch.ones(2)])
    with pytest.raises(ValueError, match="above 0 at every step"):
        optim.Ftrl([weight], 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate_power": 0.5}, "`learning_rate_power` must be 0 or less. Received: 0.5"),
        ({"initial_accumulator_value": -1}, "`initial_accumulator_value` must be 0 or more"),
        ({"l1_regularization_strength": -1}, "`l1_regularization_strength` must be 0 or more"),
        ({"l2_shrinkage_regularization_strength": -1}, "`l2_shrinkage_regularization_strength` must be"),
        ({"beta": float("inf")}, "`beta` must be 0 or more"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        optim.Ftrl([nn.Parameter(torch.ones(2))], **options)
