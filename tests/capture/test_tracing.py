"""What can't be captured is refused with the user's line and the remedy."""

import random
import warnings

import numpy as np
import pytest
import torch

from torchestimator.capture.errors import CaptureError
from torchestimator.capture.tracing import trace

X = torch.tensor([1.0, -2.0, 3.0, 4.0])
COUNT = [0]


def reads_a_value(x):
    return x * x.sum().item()


def decides_by_a_value(x):
    if x.sum() > 0:
        return x
    return -x


def turns_to_a_number(x):
    return x * float(x[0])


def prints(x):
    print(x)
    return x


def formats(x):
    return x * len(f"{x.sum()}")


def goes_to_numpy(x):
    return x + float(np.mean(x.numpy()))


def goes_to_numpy_by_asarray(x):
    return torch.from_numpy(np.asarray(x)) * 2


def selects(x):
    return x[x > 0].sum()


def lists(x):
    return x * x.tolist()[0]


@pytest.mark.parametrize(
    ("function", "line", "remedy"),
    [
        (reads_a_value, "return x * x.sum().item()", "torch.where"),
        (decides_by_a_value, "if x.sum() > 0:", "torch.where"),
        (turns_to_a_number, "return x * float(x[0])", "torch.where"),
        (prints, "print(x)", "LoggingTensorHook"),
        (formats, 'return x * len(f"{x.sum()}")', "LoggingTensorHook"),
        (goes_to_numpy, "return x + float(np.mean(x.numpy()))", "torch operations"),
        (goes_to_numpy_by_asarray, "return torch.from_numpy(np.asarray(x)) * 2", "torch operations"),
        (selects, "return x[x > 0].sum()", "mask"),
        (lists, "return x * x.tolist()[0]", "torch.where"),
    ],
)
def test_the_line_and_the_remedy_are_named(function, line, remedy):
    number = function.__code__.co_firstlineno
    with pytest.raises(CaptureError) as caught:
        trace(function, [X])
    text = str(caught.value)
    assert line in text
    assert remedy in text
    assert any(f"test_tracing.py, line {number + offset}," in text for offset in (1, 2))


def counts(x):
    COUNT[0] += 1
    return x * COUNT[0]


def counts_in_a_tensor(x):
    COUNT[0] += 1
    return x * torch.tensor(float(COUNT[0]))


def chooses_by_count(x, y):
    COUNT[0] += 1
    return (x, y)[COUNT[0] % 2] * 2


def draws_in_python(x):
    return x * random.random()


def draws_in_numpy(x):
    return x * np.random.rand()


@pytest.mark.parametrize("function", [counts, counts_in_a_tensor, chooses_by_count, draws_in_python, draws_in_numpy])
def test_values_that_change_from_call_to_call_are_noticed(function):
    inputs = [X, X + 1] if function is chooses_by_count else [X]
    with pytest.raises(CaptureError, match="get_global_step"):
        trace(function, inputs)


def test_an_error_of_the_users_own_is_shown():
    def fails(x):
        raise KeyError("missing")

    with pytest.raises(CaptureError, match=r'line \d+, `raise KeyError\("missing"\)`: KeyError: .*missing'):
        trace(fails, [X])


def test_tracing_leaves_inputs_and_random_numbers_alone():
    def function(x):
        x.add_(1)
        return x + torch.rand(4) + torch.ones(4)

    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    value = torch.zeros(4)
    with warnings.catch_warnings():
        graph = trace(function, [value])
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]
    assert not value.any()
    assert graph(value).min() >= 2
    assert torch.equal(value, torch.ones(4))
    assert repr(torch.ones(1)) == "tensor([1.])"
