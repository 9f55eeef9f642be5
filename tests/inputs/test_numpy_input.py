"""numpy_input_fn: TensorFlow's semantics, errors at creation."""

import types

import numpy as np
import pandas as pd
import pytest
import torch

from torchestimator.inputs import InputContext, fingerprint64, numpy_input_fn

ROWS = np.arange(5)


def rows_of(batches):
    return [row for features, _ in batches for row in features.tolist()]


def test_the_batches_are_those_of_tensorflow():
    input_fn = numpy_input_fn({"x": ROWS}, ROWS * 10, batch_size=3, num_epochs=2, shuffle=False)
    batches = [(features["x"].tolist(), labels.tolist()) for features, labels in input_fn()]
    assert batches == [([0, 1, 2], [0, 10, 20]), ([3, 4, 0], [30, 40, 0]), ([1, 2, 3], [10, 20, 30]), ([4], [40])]


def test_the_defaults_are_those_of_tensorflow():
    batches = list(numpy_input_fn(np.arange(300), shuffle=False)())
    assert [len(features) for features, _ in batches] == [128, 128, 44]
    assert all(labels is None for _, labels in batches)


def test_the_function_can_be_called_again():
    input_fn = numpy_input_fn(ROWS, shuffle=True, seed=3, num_epochs=2, batch_size=2)
    assert rows_of(input_fn()) == rows_of(input_fn())


def test_forms_of_x_and_y():
    features, labels = next(numpy_input_fn(torch.ones(3, 2), {"b": np.zeros(3), "a": [1, 2, 3]}, shuffle=False)())
    assert features.shape == (3, 2)
    assert list(labels) == ["a", "b"]
    features, _ = next(numpy_input_fn({"u": {"s": np.array(["p", "q"])}, "v": pd.Series([1, 2])}, shuffle=False)())
    assert features["u"]["s"].tolist() == fingerprint64(["p", "q"]).tolist()
    assert features["v"].tolist() == [1, 2]


def test_the_seed_comes_from_the_argument_then_the_config_then_chance():
    def order(seed=None, random_seed=None):
        input_fn = numpy_input_fn(np.arange(100), shuffle=True, seed=seed)
        return tuple(rows_of(input_fn(config=types.SimpleNamespace(random_seed=random_seed))))

    assert order(seed=1) == order(seed=1, random_seed=5)
    assert order(random_seed=5) == order(random_seed=5)
    assert len({order(seed=1), order(seed=2), order(random_seed=5), order(random_seed=6), order(), order()}) == 6


@pytest.mark.parametrize("seeds", [{"seed": 1}, {"random_seed": 1}])
def test_several_processes_share_the_rows(seeds):
    input_fn = numpy_input_fn(np.arange(100), shuffle=True, batch_size=8, seed=seeds.get("seed"))
    config = types.SimpleNamespace(random_seed=seeds.get("random_seed"))
    alone = numpy_input_fn(np.arange(100), shuffle=True, batch_size=16, seed=1)()
    pair = [input_fn("train", config, InputContext(2, index, 2)) for index in range(2)]
    for (features, _), first, second in zip(alone, *pair, strict=True):
        assert torch.equal(features, torch.cat([first[0], second[0]]))


def test_several_processes_need_a_common_seed_only_to_shuffle():
    context = InputContext(2, 1, 2)
    with pytest.raises(ValueError, match="2 processes share needs a seed"):
        numpy_input_fn(ROWS, shuffle=True)(input_context=context)
    assert rows_of(numpy_input_fn(ROWS, shuffle=False, batch_size=2)(input_context=context)) == [2, 3]


def test_without_shuffle_seeds_do_not_matter_for_going_on():
    input_fn = numpy_input_fn(ROWS, shuffle=False, batch_size=2)
    source = input_fn()
    next(source)
    resumed = input_fn()
    assert resumed.load_state_dict(source.state_dict()) is True
    assert rows_of(resumed) == [2, 3, 4]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"shuffle": None}, ValueError, r"`shuffle` must be given.*shuffle=None"),
        ({"shuffle": 1}, ValueError, "shuffle=1"),
        ({"x": {}}, ValueError, "`x` must not be an empty dict"),
        ({"x": np.zeros((0, 3))}, ValueError, r"`x` must not be empty.*\[0, 3\]"),
        ({"x": [1, 2]}, TypeError, r"`x` must be an array or a dict.*list.*numpy\.asarray\(x\)"),
        ({"x": None}, TypeError, "`x` must be an array.*NoneType"),
        ({"x": pd.DataFrame({"a": [1]})}, TypeError, r"`x` is a pandas DataFrame.*\['a'\].*pandas_input_fn"),
        ({"x": {"a": np.zeros((0, 3))}}, ValueError, "at least one row"),
        ({"y": {}}, ValueError, "`y` must not be an empty dict.*pass None"),
        ({"y": [1, 2]}, TypeError, "`y` must be an array"),
        ({"y": np.zeros(4)}, ValueError, r"x \[5\], y \[4\]"),
        ({"x": {"a": ROWS, "b": ROWS}, "y": {"b": ROWS}}, ValueError, r"different keys.*\['b'\]"),
        ({"x": {"a": np.array([None] * 5)}}, TypeError, r'`x\["a"\]` has a missing value'),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1.*batch_size=0"),
        ({"batch_size": 2.5}, TypeError, "`batch_size` must be an integer"),
        ({"batch_size": True}, TypeError, "`batch_size` must be an integer"),
        ({"num_epochs": 0}, ValueError, "`num_epochs` must be at least 1"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"queue_capacity": 1000}, ValueError, "`queue_capacity` has no meaning.*Remove the argument"),
        ({"num_threads": 1}, ValueError, "`num_threads` has no meaning.*num_threads=1"),
    ],
)
def test_wrong_arguments_are_refused_at_creation(arguments, kind, message):
    with pytest.raises(kind, match=message):
        numpy_input_fn(**{"x": ROWS, "shuffle": False} | arguments)
