"""Recurrent cells: torch's own as an independent implementation of the same formulas, and initial values."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from torchestimator.estimator.canned.recurrent_cells import (
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    TorchCell,
    carried,
    checked_cell,
    last_valid,
    recur,
    with_a_step,
)

WIDTH, UNITS = 3, 4
PAIRS = {SimpleRNNCell: nn.RNNCell, LSTMCell: nn.LSTMCell, GRUCell: nn.GRUCell}


def torch_twin(cell):
    """torch's cell with the same weights."""
    twin = PAIRS[type(cell)](WIDTH, UNITS)
    # torch's order of the GRU's gates is reset, update, candidate; the others' are Keras's.
    blocks = [1, 0, 2] if isinstance(cell, GRUCell) else list(range(twin.weight_ih.shape[0] // UNITS))
    order = torch.cat([torch.arange(UNITS) + UNITS * block for block in blocks])
    biases = cell.bias if cell.bias.dim() == 2 else torch.stack([cell.bias, torch.zeros_like(cell.bias)])
    with torch.no_grad():
        twin.weight_ih.copy_(cell.kernel.T[order])
        twin.weight_hh.copy_(cell.recurrent_kernel.T[order])
        twin.bias_ih.copy_(biases[0][order])
        twin.bias_hh.copy_(biases[1][order])
    return twin


@pytest.mark.parametrize("kind", PAIRS)
def test_outputs_and_gradients_are_those_of_torch(kind):
    torch.manual_seed(0)
    cell = kind(WIDTH, UNITS)
    nn.init.normal_(cell.bias)
    twin = torch_twin(cell)
    inputs = torch.randn(5, 6, WIDTH, requires_grad=True)
    other = inputs.detach().clone().requires_grad_()
    ours, theirs = recur(cell, inputs), recur(checked_cell(twin), other)
    torch.testing.assert_close(ours, theirs)
    ours.square().sum().backward()
    theirs.square().sum().backward()
    torch.testing.assert_close(inputs.grad, other.grad)
    torch.testing.assert_close(cell.kernel.grad.abs().sum(), twin.weight_ih.grad.abs().sum())


@pytest.mark.parametrize("kind", PAIRS)
def test_one_call_is_one_step(kind):
    cell = kind(WIDTH, UNITS)
    inputs = torch.randn(2, 1, WIDTH)
    states = tuple(torch.zeros(2, size) for size in cell.state_size)
    outputs, after = cell(inputs[:, 0], states)
    torch.testing.assert_close(outputs, recur(cell, inputs)[:, 0])
    assert [state.shape for state in after] == [state.shape for state in states]


@pytest.mark.parametrize("kind", PAIRS)
def test_initial_values_are_those_of_keras(kind):
    cell = kind(40, 30)
    limit = math.sqrt(6 / (40 + cell.kernel.shape[1]))
    assert 0.95 * limit < cell.kernel.abs().max() <= limit
    torch.testing.assert_close(cell.recurrent_kernel @ cell.recurrent_kernel.T, torch.eye(30), atol=1e-5, rtol=0)
    forget = cell.bias[30:60] if kind is LSTMCell else cell.bias[:0]
    assert (forget == 1).all()
    assert cell.bias.sum() == len(forget)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.sampled_from(list(PAIRS)))
def test_padding_counts_for_nothing(lengths, kind):
    torch.manual_seed(1)
    cell = kind(WIDTH, UNITS)
    inputs = torch.randn(len(lengths), 4, WIDTH)
    ends = torch.tensor(lengths)
    outputs = recur(cell, inputs)
    kept, last = carried(outputs, ends), last_valid(outputs, ends)
    for row, length in enumerate(lengths):
        alone = recur(cell, inputs[row : row + 1, :length])[0] if length else torch.zeros(0, UNITS)
        end = alone[-1] if length else torch.zeros(UNITS)
        torch.testing.assert_close(last[row], end)
        torch.testing.assert_close(kept[row], torch.cat([alone, end.expand(4 - length, UNITS)]))


def test_a_batch_without_steps_gets_one():
    assert with_a_step(torch.zeros(2, 0, 3)).shape == (2, 1, 3)
    inputs = torch.ones(2, 1, 3)
    assert with_a_step(inputs) is inputs


def test_cells_are_recognised():
    cell = LSTMCell(2, 3)
    assert checked_cell(cell) is cell
    assert isinstance(checked_cell(nn.LSTMCell(2, 3)), TorchCell)
    assert checked_cell(nn.LSTMCell(2, 3)).state_size == (3, 3)


@pytest.mark.parametrize("sizes", [None, (), 0, [2, -1], "4", True])
def test_a_cell_has_sizes_of_its_states(sizes):
    odd = nn.Linear(2, 2)
    odd.state_size = sizes
    with pytest.raises(TypeError, match="`rnn_cell_fn` must return a cell"):
        checked_cell(odd)


@pytest.mark.parametrize("result", [lambda x: x, lambda x: (x, x), lambda x: (x, (x,), x)])
def test_a_cell_returns_outputs_and_states(result):
    class Odd(nn.Module):
        state_size = WIDTH

        def forward(self, inputs, states):
            return result(inputs + states[0])

    with pytest.raises(TypeError, match=r"must return \(outputs, states\).* of Odd"):
        recur(checked_cell(Odd()), torch.zeros(2, 2, WIDTH))
