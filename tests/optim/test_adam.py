"""Adam."""

import pytest
import torch
from torch import nn

from tests.optim.gradients import coo, recorded_steps, train
from torchestimator import optim
from torchestimator.optim.adam import corrected_rate
from torchestimator.optim.rows import SMALL_TABLE


def test_three_steps_are_the_recorded_ones():
    expected = [[0.999, -1.999, 0], [0.998, -1.998, 0], [0.997, -1.997, 0]]
    torch.testing.assert_close(recorded_steps(optim.Adam), torch.tensor(expected), rtol=0, atol=1e-6)


def sparse_and_dense(rows, **options):
    """The tables after two steps on rows 1 and 2, with sparse gradients and with dense ones."""
    sparse, dense = nn.Parameter(torch.ones(rows, 2)), nn.Parameter(torch.ones(rows, 2))
    gradients = [coo(torch.tensor([row, row]), torch.ones(2, 2), rows) for row in (1, 2)]
    train(optim.Adam([sparse], 0.1, **options), sparse, gradients)
    train(optim.Adam([dense], 0.1), dense, [gradient.to_dense() for gradient in gradients])
    return sparse.detach(), dense.detach()


@pytest.mark.parametrize(("rows", "options"), [(5, {}), (SMALL_TABLE, {"lazy": False})])
def test_all_rows_move_in_small_tables_and_where_it_is_asked_for(rows, options):
    sparse, dense = sparse_and_dense(rows, **options)
    torch.testing.assert_close(sparse, dense)
    assert sparse[1, 0] < 0.9 - 1e-3


@pytest.mark.parametrize(("rows", "options"), [(5, {"lazy": True}), (SMALL_TABLE, {})])
def test_only_touched_rows_move_in_large_tables_and_where_it_is_asked_for(rows, options):
    sparse, dense = sparse_and_dense(rows, **options)
    torch.testing.assert_close(sparse[2], dense[2])
    torch.testing.assert_close(sparse[1], torch.full((2,), 0.9))
    assert torch.equal(sparse[3:], torch.ones(rows - 3, 2))


def test_all_parameters_share_the_count_of_steps_also_after_loading():
    early, late = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    optimizer = optim.Adam([early, late])
    train(optimizer, early, [torch.ones(2)] * 3)
    train(optimizer, late, [torch.ones(2)])
    assert optimizer.state[late]["step"] is optimizer.state[early]["step"]
    again = optim.Adam([early, late])
    state = optimizer.state_dict()
    for slots in state["state"].values():
        slots["step"] = slots["step"].clone()
    again.load_state_dict(state)
    train(again, late, [torch.ones(2)])
    assert again.state[late]["step"] is again.state[early]["step"]
    assert again.state[early]["step"] == 5


def test_the_corrected_rate_is_the_same_from_a_tensor():
    for step in (1, 2, 10, 5000):
        number = corrected_rate(0.1, step, 0.9, 0.999)
        tensor = corrected_rate(torch.tensor(0.1), torch.tensor(float(step)), 0.9, 0.999)
        torch.testing.assert_close(tensor, torch.tensor(number), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta_1": 1.0}, "`beta_1` must be at least 0 and below 1. Received: 1.0"),
        ({"beta_2": -0.1}, "`beta_2` must be at least 0 and below 1"),
        ({"epsilon": 0}, "`epsilon` must be positive"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        optim.Adam([nn.Parameter(torch.ones(2))], **options)
