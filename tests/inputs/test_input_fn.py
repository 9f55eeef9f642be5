"""What an input_fn may take and return."""

import functools
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from torchestimator.inputs import InputContext, numpy_input_fn
from torchestimator.inputs.arrays import ArrayBatches
from torchestimator.inputs.input_fn import open_input

CONTEXT = InputContext(1, 0, 2)
X, Y = torch.zeros(2, 3), torch.zeros(2)


def opened(input_fn, mode="train"):
    return open_input(input_fn, mode, {"width": 3}, "the config", CONTEXT)


def received(input_fn):
    """What an input_fn that returns `[{"got": its arguments}]` was called with."""
    return next(opened(input_fn))[0]["got"]


class AsObject:
    def __call__(self, params, mode):
        return [{"got": (params, mode)}]

    def method(self, config):
        return [{"got": config}]


class Batches(IterableDataset):
    def __iter__(self):
        yield X, Y


class Items(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X + index, Y


def take_keyword_only(*, mode, config):
    return [{"got": (mode, config)}]


def take_defaults(mode="none", batch=32, params=None):
    return [{"got": (mode, batch, params)}]


def take_anything(*args, **kwargs):
    return [{"got": (args, kwargs)}]


def take_two(folder, mode):
    return [{"got": (folder, mode)}]


def take_bound_mode(mode, params):
    return [{"got": (mode, params)}]


@pytest.mark.parametrize(
    ("input_fn", "expected"),
    [
        (lambda: [{"got": "nothing"}], "nothing"),
        (lambda mode, params, config, input_context: [{"got": (mode, params, config, input_context)}],
         ("train", {"width": 3}, "the config", CONTEXT)),
        (lambda input_context: [{"got": input_context}], CONTEXT),
        (AsObject(), ({"width": 3}, "train")),
        (AsObject().method, "the config"),
        (take_keyword_only, ("train", "the config")),
        (take_defaults, ("train", 32, {"width": 3})),
        (take_anything, ((), {})),
        (functools.partial(take_two, "data"), ("data", "train")),
        (functools.partial(take_bound_mode, mode="mine"), ("mine", {"width": 3})),
    ],
)  # fmt: skip
def test_arguments_are_passed_by_name(input_fn, expected):
    assert received(input_fn) == expected


def test_arguments_that_nothing_is_passed_for_are_named():
    with pytest.raises(TypeError, match=r"\(take_two\).*\['folder'\].*lambda: take_two\(folder=\.\.\.\)"):
        opened(take_two)


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        (DataLoader(TensorDataset(X, Y)), "lambda: loader"),
        (TensorDataset(X, Y), "lambda: dataset"),
        ((X, Y), r"lambda: \(features, labels\)"),
        (iter([]), "lambda: batches"),
        ([(X, Y)], "lambda: batches"),
    ],
)
def test_the_input_itself_in_place_of_a_function_shows_the_corrected_line(value, fix):
    with pytest.raises(TypeError, match=rf"`input_fn` must be a function.*Received: {type(value).__name__}.*{fix}"):
        opened(value)


def test_a_missing_input_fn_is_named():
    with pytest.raises(TypeError, match="`input_fn` is missing"):
        opened(None)


def no_batches():
    return []


def generator_function():
    yield X, Y
    yield X, Y


@pytest.mark.parametrize(
    ("input_fn", "count"),
    [
        (generator_function, 2),
        (lambda: iter([(X, Y)] * 3), 3),
        (lambda: [(X, Y)] * 3, 3),
        (lambda: [(X, Y)] * 2, 2),
        (lambda: ((X, Y), (X, Y)), 2),
        (lambda: [(X, Y)], 1),
        (no_batches, 0),
        (Batches, 1),
        (Items, 2),
        (lambda: DataLoader(TensorDataset(X, Y), batch_size=1), 2),
        (lambda: DataLoader(Items(), batch_size=None), 2),
    ],
)
def test_iterables_give_batches_with_labels(input_fn, count):
    batches = list(opened(input_fn))
    assert len(batches) == count
    assert all(labels.shape[0] in (1, 2) for _, labels in batches)


@pytest.mark.parametrize("batch", [{"x": X}, X, X.numpy(), pd.DataFrame({"x": [1]})])
def test_features_alone_are_elements_without_labels(batch):
    for result in ([batch], iter([batch]), [batch] * 3 if isinstance(batch, dict) else iter([batch] * 3)):
        features, labels = next(opened(lambda result=result: result))
        assert features is batch
        assert labels is None


@pytest.mark.parametrize(
    "batch",
    [
        (X, Y),
        [X, Y],
        ({"x": X}, Y),
        [{"x": X}, {"y": Y}],
        (X.numpy(), Y.numpy()),
        ({"x": X}, None),
        ((X, X), Y),
        ([1.0, 2.0], [0, 1]),
        ({"x": [1, 2]}, [0, 1]),
        (pd.DataFrame({"x": [1]}), pd.Series([1])),
    ],
)
def test_one_batch_means_a_call_for_each_step(batch):
    calls = []

    def input_fn():
        calls.append(1)
        if len(calls) > 3:
            raise StopIteration
        return batch

    source = opened(input_fn)
    assert len(calls) == 1
    pairs = list(source)
    assert len(pairs) == 3
    assert all(features is batch[0] and labels is batch[1] for features, labels in pairs)
    assert source.state_dict() == {"exhausted": True}


@pytest.mark.parametrize("batch", [{"x": X}, X, X.numpy(), pd.DataFrame({"x": [1]})])
def test_features_alone_mean_a_call_for_each_step_too(batch):
    source = opened(lambda: batch)
    assert [next(source) for _ in range(4)] == [(batch, None)] * 4 if isinstance(batch, dict) else True
    assert next(source)[0] is batch


def test_the_end_may_come_with_the_first_call():
    assert list(opened(lambda: next(iter([])))) == []


def test_predicting_one_batch_for_ever_is_warned_about_once(caplog):
    with caplog.at_level(logging.WARNING, logger="torchestimator"):
        source = opened(lambda: {"x": X}, "infer")
        for _ in range(3):
            next(source)
        opened(lambda: [{"x": X}], "infer")
        opened(lambda: {"x": X}, "train")
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "StopIteration" in caplog.text


@pytest.mark.parametrize("result", [(X,), (X, X, Y), (), [X, X, Y], [1, 2, 3], ((X, Y),) * 3])
def test_tuples_and_lists_of_other_lengths_are_refused(result):
    with pytest.raises(ValueError, match=rf"a {type(result).__name__} of {len(result)} elements.*into a dict"):
        opened(lambda: result)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "returned None: is its `return` missing"),
        (numpy_input_fn(np.zeros(3), shuffle=False), r"returned a function.*`input_fn=numpy_input_fn\(\.\.\.\)`"),
        ("path/to/file", "must return its input.*path/to/file"),
        (3, "must return its input"),
    ],
)
def test_results_without_batches_are_refused(result, message):
    with pytest.raises(TypeError, match=message):
        opened(lambda: result)


def test_our_own_inputs_are_opened_with_mode_config_and_context():
    source = opened(numpy_input_fn({"x": np.array(["a", "b"])}, shuffle=False), "infer")
    assert isinstance(source, ArrayBatches)
    assert next(source)[0]["x"].tolist() == ["a", "b"]
    assert isinstance(next(opened(numpy_input_fn({"x": np.array(["a"])}, shuffle=False)))[0]["x"], torch.Tensor)
