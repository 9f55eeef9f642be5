"""The rows that a sparse gradient touches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.optim.gradients import coo
from torchestimator import optim
from torchestimator.capture.tracing import trace
from torchestimator.optim.rows import check_sparsity, densified, touched_rows

pairs = st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9)), max_size=12)


@settings(deadline=None, max_examples=60)
@given(pairs=pairs, is_traced=st.booleans())
def test_every_touched_row_has_its_sum(pairs, is_traced):
    ids = torch.tensor([row for row, _ in pairs], dtype=torch.int64)
    values = torch.tensor([[float(value), 1.0] for _, value in pairs]).reshape(-1, 2)
    gradient = coo(ids, values, 6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "_is_compiling_flag", is_traced)
        rows, sums = touched_rows(gradient)
    assert len(rows) == (len(pairs) if is_traced else len(set(ids.tolist())))
    assert set(rows.tolist()) == set(ids.tolist())
    assert torch.equal(sums, gradient.to_dense()[rows])
    assert torch.equal(densified(gradient), gradient.to_dense())


@pytest.mark.parametrize("lazy", [True, False])
def test_a_sparse_step_can_be_traced(lazy, monkeypatch):
    """The traced step, run, is the eager one: no shape in it depends on values."""
    table, first, second = torch.ones(6, 2), torch.zeros(6, 2), torch.zeros(6, 2)
    ids, values = torch.tensor([3, 1, 3]), torch.arange(6.0).view(3, 2)

    def step(table, first, second, count, ids, values, rate):
        weight = nn.Parameter(table)
        weight.grad = torch.sparse_coo_tensor(ids[None], values, (6, 2), check_invariants=False)
        optimizer = optim.Adam([weight], rate, lazy=lazy, clipnorm=2.0)
        optimizer.state[weight] = {"step": count, "m": first, "v": second}
        optimizer.step()
        return weight.detach()

    examples = [table, first, second, torch.tensor(2.0), ids, values, torch.tensor(0.1)]
    expected = [example.clone() for example in examples]
    step(*expected[:-1], 0.1)
    with monkeypatch.context() as patch:
        patch.setattr(torch.compiler, "_is_compiling_flag", True)
        graph = trace(step, examples)
    assert torch.equal(table, torch.ones(6, 2))
    graph(*examples)
    torch.testing.assert_close(examples, expected)


def test_gradients_that_are_sparse_in_two_dimensions_are_refused():
    weight = nn.Parameter(torch.ones(3, 2))
    gradient = torch.eye(3)[:, :2].to_sparse()
    with pytest.raises(ValueError, match=r"first dimension only.*shape \[3, 2\] with 2 sparse dimensions"):
        check_sparsity(gradient)
    weight.grad = gradient
    with pytest.raises(ValueError, match="first dimension only"):
        optim.SGD([weight]).step()
