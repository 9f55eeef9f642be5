"""The user's own line behind an error or a stack trace."""

import inspect
import os
import traceback

import pytest
import torch

from torchestimator import strings
from torchestimator.strings import index_to_string
from torchestimator.user_line import user_line, user_line_of


def caught(function):
    with pytest.raises(Exception) as info:
        function()
    return info.value


def line_here(function, offset=0):
    return inspect.getsourcelines(function)[1] + offset


def wrong_shapes():
    return torch.nn.Linear(3, 2)(torch.zeros(2, 4))


def of_the_package():
    return index_to_string([0], ["a"])


@pytest.mark.parametrize("function", [wrong_shapes, of_the_package])
def test_torch_and_this_package_are_left_out(function):
    text = inspect.getsource(function).splitlines()[1].strip()
    assert user_line(caught(function)) == f"test_user_line.py, line {line_here(function, 1)}, `{text}`"


def test_an_error_that_was_never_raised_has_no_line():
    assert user_line(ValueError("x")) == "model_fn"
    assert user_line(ValueError("x"), "somewhere") == "somewhere"


def frame(file, line):
    return f'  File "{file}", line {line}, in f\n    some code\n'


def test_the_innermost_line_of_a_stack_trace():
    own, inner = os.path.join("somewhere", "train.py"), os.path.join("somewhere", "model.py")
    torch_file, package_file = os.path.abspath(torch.__file__), os.path.abspath(strings.__file__)
    trace = frame(own, 3) + frame(package_file, 40) + frame(inner, 7) + frame(torch_file, 9) + frame("<string>", 1)
    assert user_line_of(trace) == "model.py, line 7, ``"
    assert user_line_of(frame(torch_file, 9) + frame(package_file, 1)) == "model_fn"
    assert user_line_of("") == "model_fn"
    assert user_line_of("", "nowhere") == "nowhere"


def test_another_library_is_better_than_nothing():
    library = os.path.abspath(pytest.__file__)
    assert user_line_of(frame(library, 1) + frame(torch.__file__, 5)).startswith("__init__.py, line 1, `")
    standard = os.path.abspath(traceback.__file__)
    assert user_line_of(frame(standard, 1)).startswith("traceback.py, line 1, ")
    assert user_line_of(frame("model.py", 2) + frame(library, 1)) == "model.py, line 2, ``"
