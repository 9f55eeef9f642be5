"""Recurrent cells with Keras's arithmetic, and how a cell runs over the steps of a batch.

A cell is an nn.Module with an attribute `state_size`, the width of its state or a tuple of several, and

    forward(inputs, states) -> (outputs, states)

where inputs are one step of a batch, [batch, width], and states a tuple of [batch, size], zeros before the first step.
torch's own cells (`nn.RNNCell`, `nn.GRUCell`, `nn.LSTMCell`) are cells too.

The ready-made ones keep their weights in Keras's layout, [in, gates * units], so that a trained model moves over as it
is.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

States: TypeAlias = tuple[Tensor, ...]
"""The states of a cell, each [batch, size]."""


class GateCell(nn.Module, ABC):
    """A cell whose gates are sums of a product with the inputs and one with its outputs.

    Starts as Keras's: `kernel` is Glorot uniform (Glorot & Bengio 2010), `recurrent_kernel` orthogonal (Saxe et al.
    2014) and `bias` zero.

    Args:
        width: size of the inputs.
        units: size of the outputs and of each state.
        num_gates: blocks of `units` columns in the kernels.
        bias_shape: shape of the bias.
    """

    def __init__(self, width: int, units: int, num_gates: int, bias_shape: tuple[int, ...]) -> None:
        super().__init__()
        columns = num_gates * units
        limit = math.sqrt(6 / (width + columns))
        self.units = units
        self.kernel = nn.Parameter(torch.empty(width, columns).uniform_(-limit, limit))
        self.recurrent_kernel = nn.Parameter(nn.init.orthogonal_(torch.empty(units, columns)))
        self.bias = nn.Parameter(torch.zeros(bias_shape))

    @property
    def state_size(self) -> tuple[int, ...]:
        """The sizes of the states."""
        return (self.units,)

    def forward(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """One step: [batch, width] and the states -> [batch, units] and the new states."""
        return self.step(self.project(inputs), states)

    def project(self, inputs: Tensor) -> Tensor:
        """What the inputs contribute to the gates: [..., width] -> [..., gates * units], all steps in one product."""
        return torch.matmul(inputs, self.kernel) + self.bias

    @abstractmethod
    def step(self, projected: Tensor, states: States) -> tuple[Tensor, States]:
        """One step, from what `project` gave for it."""


class SimpleRNNCell(GateCell):
    """h' = tanh(x W + h U + b) (Elman 1990; tf.keras.layers.SimpleRNNCell).

    Args:
        width: size of the inputs.
        units: size of the outputs.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units, 1, (units,))

    def step(self, projected: Tensor, states: States) -> tuple[Tensor, States]:
        """See `GateCell.step`."""
        outputs = torch.addmm(projected, states[0], self.recurrent_kernel).tanh()
        return outputs, (outputs,)


class LSTMCell(GateCell):
    """Long short-term memory (Hochreiter & Schmidhuber 1997; tf.keras.layers.LSTMCell).

    The columns of the kernels are input, forget, candidate and output. The bias of the forget gate starts at 1
    (Jozefowicz et al. 2015).

    Args:
        width: size of the inputs.
        units: size of the outputs.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units, 4, (4 * units,))
        with torch.no_grad():
            self.bias[units : 2 * units].fill_(1)

    @property
    def state_size(self) -> tuple[int, ...]:
        """The sizes of the outputs and of the memory."""
        return (self.units, self.units)

    def step(self, projected: Tensor, states: States) -> tuple[Tensor, States]:
        """See `GateCell.step`."""
        outputs, memory = states
        gates = torch.addmm(projected, outputs, self.recurrent_kernel)
        enter, keep, candidate, leave = gates.chunk(4, 1)
        memory = keep.sigmoid() * memory + enter.sigmoid() * candidate.tanh()
        outputs = leave.sigmoid() * memory.tanh()
        return outputs, (outputs, memory)


class GRUCell(GateCell):
    """Gated recurrent unit (Cho et al. 2014) in the form of cuDNN (tf.keras.layers.GRUCell, reset_after=True).

    The columns of the kernels are update, reset and candidate; the reset gate acts after the product with the outputs,
    which therefore has a bias of its own, the second row of `bias`.

    Args:
        width: size of the inputs.
        units: size of the outputs.
    """

    def __init__(self, width: int, units: int) -> None:
        super().__init__(width, units, 3, (2, 3 * units))

    def project(self, inputs: Tensor) -> Tensor:
        """See `GateCell.project`."""
        return torch.matmul(inputs, self.kernel) + self.bias[0]

    def step(self, projected: Tensor, states: States) -> tuple[Tensor, States]:
        """See `GateCell.step`."""
        before = states[0]
        update_in, reset_in, candidate_in = projected.chunk(3, 1)
        own = torch.addmm(self.bias[1], before, self.recurrent_kernel)
        update_own, reset_own, candidate_own = own.chunk(3, 1)
        update = (update_in + update_own).sigmoid()
        reset = (reset_in + reset_own).sigmoid()
        candidate = (candidate_in + reset * candidate_own).tanh()
        outputs = update * before + (1 - update) * candidate
        return outputs, (outputs,)


class TorchCell(nn.Module):
    """One of torch's own cells, as a cell of this module.

    Args:
        cell: nn.RNNCell, nn.GRUCell or nn.LSTMCell.
    """

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.cell = cell
        self.state_size = (cell.hidden_size,) * (2 if isinstance(cell, nn.LSTMCell) else 1)

    def forward(self, inputs: Tensor, states: States) -> tuple[Tensor, States]:
        """One step: [batch, width] and the states -> [batch, hidden_size] and the new states."""
        result = self.cell(inputs, states if isinstance(self.cell, nn.LSTMCell) else states[0])
        new: States = result if isinstance(result, tuple) else (result,)
        return new[0], new


def checked_cell(cell: Any) -> nn.Module:
    """A cell as `rnn_cell_fn` gave it.

    Raises:
        TypeError: it is none.
    """
    if isinstance(cell, nn.RNNCellBase):
        return TorchCell(cell)
    sizes = getattr(cell, "state_size", None)
    if isinstance(cell, nn.Module) and _are_sizes((sizes,) if isinstance(sizes, int) else sizes):
        return cell
    raise TypeError(
        "`rnn_cell_fn` must return a cell: one of torch's (nn.GRUCell(width, 32)), or an nn.Module with an attribute "
        "`state_size`, the width of its state or a tuple of several, and forward(inputs, states) -> (outputs, states). "
        f"Received: {cell!r}."
    )


def recur(cell: nn.Module, inputs: Tensor) -> Tensor:
    """The outputs of a cell at each step.

    The loop is a Python loop: a captured or exported model has one copy of the cell per step, and so a fixed number of
    steps. The batch stays free.

    Args:
        cell: see the module's docstring.
        inputs: [batch, steps, width], at least one step.

    Returns:
        [batch, steps, units].
    """
    step: Callable[[Tensor, States], tuple[Tensor, States]]
    if isinstance(cell, GateCell):
        inputs, step = cell.project(inputs), cell.step
    else:
        step = _checked_step(cell)
    size: Any = cell.state_size
    sizes: tuple[int, ...] = (size,) if isinstance(size, int) else tuple(size)
    states: States = tuple(inputs.new_zeros(inputs.shape[0], each) for each in sizes)
    outputs = []
    for values in inputs.unbind(1):
        output, states = step(values, states)
        outputs.append(output)
    return torch.stack(outputs, 1)


def _checked_step(cell: nn.Module) -> Callable[[Tensor, States], tuple[Tensor, States]]:
    def step(inputs: Tensor, states: States) -> tuple[Tensor, States]:
        result = cell(inputs, states)
        # Tuples and not unions: torch.compile traces this, and up to torch 2.9 it knows no unions.
        if not isinstance(result, (tuple, list)) or len(result) != 2 or not isinstance(result[1], (tuple, list)):
            raise TypeError(
                "A recurrent cell must return (outputs, states), with a tuple of as many states as it got. "
                f"Received: {type(result).__name__} of {type(cell).__name__}. Write: return outputs, (outputs,)"
            )
        return result[0], tuple(result[1])

    return step


def last_valid(outputs: Tensor, lengths: Tensor) -> Tensor:
    """The output at the last step of each sequence, zeros where there is none.

    Args:
        outputs: [batch, steps, units].
        lengths: [batch] int64.

    Returns:
        [batch, units].
    """
    place = (lengths - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, outputs.shape[2])
    return outputs.gather(1, place).squeeze(1) * (lengths > 0).unsqueeze(1)


def carried(outputs: Tensor, lengths: Tensor) -> Tensor:
    """The outputs with those after the end of a sequence replaced by its last, as a masked layer of Keras gives them.

    Padding is always at the end, so that this equals carrying the states through masked steps.

    Args:
        outputs: [batch, steps, units].
        lengths: [batch] int64.

    Returns:
        [batch, steps, units].
    """
    steps = torch.arange(outputs.shape[1], device=outputs.device)
    place = torch.minimum(steps, (lengths - 1).unsqueeze(1)).clamp(min=0)
    chosen = outputs.gather(1, place.unsqueeze(2).expand(-1, -1, outputs.shape[2]))
    return chosen * (lengths > 0).view(-1, 1, 1)


def with_a_step(inputs: Tensor) -> Tensor:
    """[batch, steps, width] as it is, or with one step of zeros where a batch has no step at all.

    Raises:
        ValueError: a model with a free number of steps is being exported.
    """
    if isinstance(inputs.shape[1], torch.SymInt):
        raise ValueError(
            "A recurrent model is exported with a fixed number of steps, since its loop over them is unrolled. "
            f"Received: features with {inputs.shape[1]} steps. Declare as many steps as the longest sequence has, "
            "and pad the others: te.export.placeholder(torch.int64, [None, 20], ...)"
        )
    # TorchScript's tracer takes sizes for tensors, which can't be looked at; the length of a list is a number.
    return inputs if inputs.unbind(1) else F.pad(inputs, (0, 0, 0, 1))


def _are_sizes(sizes: Any) -> bool:
    return (
        isinstance(sizes, tuple | list)
        and bool(sizes)
        and all(isinstance(size, int) and not isinstance(size, bool) and size > 0 for size in sizes)
    )
