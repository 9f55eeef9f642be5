"""The line of model_fn that an exporter stumbles over."""

import inspect

import pytest
import torch

from torchestimator.export.culprit import line_of_fixed_size, line_of_operator


def place(function, offset):
    lines, start = inspect.getsourcelines(function)
    return f"test_culprit.py, line {start + offset}, `{lines[offset].strip()}`"


def computes():
    x = torch.ones(3)
    y = x + 1
    z = torch.lgamma(y)
    return torch.lgamma(z)


@pytest.mark.parametrize("operator", ["aten.lgamma", "prims.lgamma", "aten._lgamma", "lgamma"])
def test_the_first_call_of_an_operator(operator):
    assert line_of_operator(operator, computes) == place(computes, 3)


def test_an_operator_that_is_not_called():
    assert line_of_operator("aten.searchsorted", computes) == "model_fn"


def fixes_with_int(tensors):
    x = tensors["x"]
    size = int(x.shape[0])
    return x.reshape(size, 8)


def fixes_by_broadcasting(tensors):
    flat = tensors["x"].flatten(1)
    return flat + torch.ones(2, 1)


def fixes_nothing(tensors):
    x = tensors["x"]
    return x.reshape(x.shape[0], -1)


def breaks(tensors):
    raise RuntimeError("no")


@pytest.mark.parametrize(("function", "offset"), [(fixes_with_int, 2), (fixes_by_broadcasting, 2)])
def test_the_line_that_makes_a_size_a_constant(function, offset):
    assert line_of_fixed_size(function, {"x": torch.zeros(2, 4, 2)}, {"x": [0]}) == place(function, offset)


@pytest.mark.parametrize("function", [fixes_nothing, breaks])
def test_where_nothing_is_found_the_line_stays_unknown(function):
    assert line_of_fixed_size(function, {"x": torch.zeros(2, 4, 2)}, {"x": [0]}) == "model_fn"
