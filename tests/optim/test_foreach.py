"""Arithmetic over lists of tensors."""

import pytest
import torch

from torchestimator.optim.foreach import clipped, subtract_quotients_, subtract_scaled_


@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5)], ids=["number", "tensor"])
def test_rates_are_numbers_or_tensors(rate):
    weights = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    subtract_scaled_(weights, [torch.tensor([2.0, 4.0]), torch.tensor([[6.0]])], rate)
    assert [weight.tolist() for weight in weights] == [[0, 0], [[0]]]
    subtract_quotients_(weights, [torch.ones(2), torch.ones(1, 1)], [torch.full((2,), 2.0), torch.ones(1, 1)], rate)
    assert [weight.tolist() for weight in weights] == [[-0.25, -0.25], [[-0.5]]]


def test_each_gradient_is_clipped_for_itself():
    long, short, none = clipped([torch.tensor([3.0, 4.0]), torch.tensor([[0.6]]), torch.zeros(2)], 1.0)
    torch.testing.assert_close(long, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(short, torch.tensor([[0.6]]))
    assert torch.equal(none, torch.zeros(2))
