"""The optimizer wrapper that changes nothing."""

import pytest
import torch

from torchestimator.tpu import CrossShardOptimizer


def test_it_makes_the_same_optimizer():
    weight = torch.nn.Parameter(torch.zeros(2))
    optimizer = CrossShardOptimizer(lambda params: torch.optim.SGD(params, lr=0.5))([weight])
    assert type(optimizer) is torch.optim.SGD
    assert optimizer.param_groups[0]["params"] == [weight]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((torch.optim.SGD([torch.zeros(1)], lr=1.0),), TypeError, r"lambda params: torch\.optim\.SGD\("),
        ((3,), TypeError, "must be a function that makes the optimizer"),
        ((list, "weighted_sum"), ValueError, r"loss\.sum\(\)"),
        ((list, "other"), ValueError, "`reduction` must be 'weighted_mean'"),
        ((list, "weighted_mean", "name", [[0, 1]]), ValueError, "`group_assignment` has no counterpart"),
    ],
)
def test_errors(arguments, kind, message):
    with pytest.raises(kind, match=message):
        CrossShardOptimizer(*arguments)
