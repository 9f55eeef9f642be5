"""From losses to a loss."""

import pytest
import torch

from torchestimator.head.reduction import check_loss_reduction, reduced

LOSSES = torch.tensor([[1.0], [2.0], [3.0]])
WEIGHTS = torch.tensor([[1.0], [0.5], [0.0]])


@pytest.mark.parametrize(
    ("reduction", "weights", "count", "expected"),
    [
        ("sum", None, None, 6.0),
        ("sum", WEIGHTS, None, 2.0),
        ("auto", None, None, 2.0),
        ("sum_over_batch_size", WEIGHTS, None, 2 / 3),
        ("sum_over_batch_size", WEIGHTS, 2, 1.0),
        ("sum", WEIGHTS, 2, 2.0),
        ("auto", WEIGHTS * 0, 0, 0.0),
    ],
)
def test_reductions(reduction, weights, count, expected):
    given = None if count is None else torch.tensor(count)
    assert reduced(LOSSES, weights, reduction, given).item() == pytest.approx(expected)


@pytest.mark.parametrize("reduction", ["none", "mean", None, "SUM"])
def test_others_are_refused(reduction):
    with pytest.raises(ValueError, match='must be one of "auto", "sum", "sum_over_batch_size"'):
        check_loss_reduction(reduction)
