"""Placeholders."""

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator.export.placeholder import (
    declare,
    free_sizes,
    like_example,
    placeholder,
    receiver_run,
    to_tensors_of,
    with_feature,
)
from torchestimator.export.tensor_info import DATA_TYPES, STRING
from torchestimator.inputs.fingerprint import fingerprint64
from torchestimator.io import FixedLenFeature, VarLenFeature

DTYPES = sorted(DATA_TYPES.keys() - {STRING})


def declared(*arguments, **keywords):
    with receiver_run() as run:
        placeholder(*arguments, **keywords)
    (made,) = run.declared.values()
    return made


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_in_every_spelling(name):
    kind = DATA_TYPES[name]
    for dtype in (kind.torch, str(kind.torch).removeprefix("torch."), kind.numpy, kind.numpy.type, name):
        tensor = placeholder(dtype, [None, 3], "x")
        assert (tensor.dtype, tensor.shape) == (kind.torch, (2, 3))


@pytest.mark.parametrize("dtype", [str, bytes, "string"])
def test_strings_are_fingerprints_in_the_model(dtype):
    made = declared(dtype, [None, 2], "words")
    rows = made.rows(5, {})
    assert rows.dtype == object
    assert {type(each) for each in rows.ravel()} == {str}
    assert torch.equal(to_tensors_of(made, rows), torch.from_numpy(fingerprint64(rows)))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bfloat16, "floaty", None, 3, object()])
def test_what_is_no_dtype(dtype):
    with pytest.raises(TypeError, match=r"`dtype` of the placeholder 'x' must be a torch dtype.*Received: "):
        placeholder(dtype, [None], "x")


def test_names_are_made_up_and_distinct():
    with receiver_run() as run:
        placeholder(torch.float32, [None], "placeholder_1")
        for _ in range(3):
            placeholder(torch.float32, [None])
        assert list(run.declared) == ["placeholder_1", "placeholder", "placeholder_2", "placeholder_3"]
        with pytest.raises(ValueError, match=r"needs a `name` of its own. Received 'placeholder' twice"):
            placeholder(torch.float32, [None], "placeholder")
    for wrong in ("", 3):
        with pytest.raises(TypeError, match="`name` of a placeholder must be a string"):
            placeholder(torch.float32, [None], wrong)


def test_dimensions_of_any_size():
    made = declared(torch.int64, [None, None, 3, "length"], "my ids")
    assert made.shape == (-1, -1, 3, -1)
    assert made.dim_names == ("batch", "my_ids_1", None, "length")
    assert declared(torch.int64, ["batch", -1]).dim_names == ("batch", "placeholder_1")
    assert declared(torch.int64, (5, 2)).dim_names == (None, None)
    info = made.info("my_ids")
    assert (info.name, info.dtype, info.shape, info.dim_names) == ("my_ids", "DT_INT64", made.shape, made.dim_names)


@pytest.mark.parametrize(
    "shape", [[], [0], [None, 0], [None, -2], [None, "batch"], ["length"], [None, True], [None, "a b"]]
)
def test_shapes_that_can_not_be(shape):
    with pytest.raises(ValueError, match=r"`shape` of the placeholder 'x' .*Received: .*Write the batch as None: te"):
        placeholder(torch.float32, shape, "x")


@pytest.mark.parametrize("shape", ["None", 3, None])
def test_shapes_of_the_wrong_type(shape):
    with pytest.raises(TypeError, match="must be a list of sizes"):
        placeholder(torch.float32, shape, "x")


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([*DTYPES, "string"]), st.integers(1, 40), st.integers(1, 40), st.text(min_size=1, max_size=4))
def test_made_up_rows_are_the_same_in_batches_of_every_size(dtype, one, other, name):
    made = declared(dtype, [None, 3], name)
    short, long = sorted((one, other))
    rows = made.rows(long, {})
    assert rows.shape == (long, 3)
    assert rows.dtype == made.type.numpy
    assert np.array_equal(made.rows(short, {}), rows[:short])
    if rows.dtype.kind in "iu":
        assert set(rows.ravel().tolist()) <= {0, 1}


def test_a_fixed_batch_stays_fixed():
    assert declared(torch.float32, [4, 2]).rows(9, {}).shape == (4, 2)


def test_examples_are_repeated_as_often_as_needed():
    made = declared(torch.int32, [None, 2], "x", example=[[1, 2], [3, 4], [5, 6]])
    assert made.rows(2, {}).dtype == np.int32
    assert made.rows(7, {})[:, 0].tolist() == [1, 3, 5, 1, 3, 5, 1]
    words = declared(str, [None], "x", example=[b"a", "b"])
    assert words.rows(3, {}).tolist() == ["a", "b", "a"]
    tensor = declared(torch.float16, [None, 1], "x", example=torch.ones(2, 1, requires_grad=True))
    assert tensor.rows(1, {}).dtype == np.float16


def test_examples_take_every_size_of_a_free_dimension():
    made = declared(torch.int64, [None, "length"], "x", example=[[1, 2, 3], [4, 5, 6]])
    assert made.rows(1, {"length": 2}).tolist() == [[1, 2]]
    assert made.rows(1, {"length": 5}).tolist() == [[1, 2, 3, 1, 2]]


@pytest.mark.parametrize("example", [[], [1, 2], [[1, 2, 3]], np.zeros((0, 2)), [[[1, 2]]]])
def test_examples_that_do_not_fit(example):
    with pytest.raises(ValueError, match=r"`example` of the placeholder 'x' must have at least one row and the shape"):
        placeholder(torch.float32, [None, 2], "x", example=example)
    with pytest.raises(ValueError, match="Received: shape"):
        placeholder(torch.float32, [None, "length"], "x", example=np.zeros((2, 0)))
    with pytest.raises(TypeError, match=r"`example` of the placeholder 'x' must be numbers. Received: \[\['a'\]\]"):
        placeholder(torch.float32, [None, 1], "x", example=[["a"]])


def test_one_name_is_one_size_in_a_receiver():
    with receiver_run():
        first = placeholder(torch.float32, [None, "time"], "first")
        # "a" comes before "time", and this example is longer.
        second = placeholder(torch.float32, [None, "a", "time"], "second")
        third = placeholder(torch.float32, [None, "time"], "third", example=np.zeros((1, 50)))
    assert first.shape[1] == second.shape[2] == third.shape[1]
    assert second.shape[1] != second.shape[2]


def test_free_sizes_differ_from_round_to_round_and_stay_within_long_examples():
    dims = [
        declared(torch.float32, [None, "time", None], "x"),
        declared(torch.float32, [None, "tokens"], "t", example=np.zeros((2, 30))),
    ]
    rounds = [free_sizes(dims, number) for number in (1, 2, 7)]
    assert [each.keys() for each in rounds] == [{"time", "x_2", "tokens"}] * 3
    for name in rounds[0]:
        assert len({each[name] for each in rounds}) == 3
    assert all(1 < each["time"] <= 6 and 26 < each["tokens"] <= 30 for each in rounds)


def test_like_an_example():
    numbers = like_example("x", np.ones((3, 2)), None)
    assert (numbers.type.name, numbers.shape) == ("DT_FLOAT", (-1, 2))  # as training makes it of float64
    assert like_example("x", torch.ones(3, 2, dtype=torch.float64), None).type.name == "DT_DOUBLE"
    assert like_example("x", [True, False], 5).shape == (5,)
    words = like_example("x", [["a"], ["b"]], None)
    assert (words.type.name, words.shape, words.rows(3, {}).tolist()) == (STRING, (-1, 1), [["a"], ["b"], ["a"]])
    for wrong in (3.0, np.zeros((0, 2)), torch.tensor(1)):
        with pytest.raises(ValueError, match=r"The example of 'x' must have the batch as its first dimension"):
            like_example("x", wrong, None)
    with pytest.raises(TypeError, match=r"features\['x'\]"):
        like_example("x", object(), None)


def test_features_of_serialised_examples():
    with receiver_run() as run:
        declare(with_feature("price", FixedLenFeature([2], torch.float32), "sent", None))
        declare(with_feature("words", VarLenFeature(str), "sent", 4))
    price, words = run.declared.values()
    assert (price.shape, price.type.name, price.parsed_from) == ((-1, 2), "DT_FLOAT", "sent")
    assert (words.shape, words.type.name, words.dim_names) == ((4, -1), STRING, (None, "words_1"))


def test_a_receiver_run_gives_the_tensors_it_was_given():
    given_tensor = torch.zeros(3, 2)
    with receiver_run({"x": given_tensor}):
        assert placeholder(torch.float32, [None, 2], "x") is given_tensor
        with pytest.raises(ValueError, match=r"same placeholders whenever it is called. Received: 'y' besides \['x'\]"):
            placeholder(torch.float32, [None, 2], "y")


def test_a_run_is_one_threads_own():
    def other():
        placeholder(torch.float32, [None], "other")

    with receiver_run() as run:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert not run.declared
