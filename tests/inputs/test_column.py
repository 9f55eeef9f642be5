"""Columns of every type: numbers, strings, and errors that say what is wrong."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
import torch

from torchestimator.inputs.column import is_data, is_missing, numbers_of, to_tensor


@pytest.mark.parametrize(
    "value",
    [
        np.array(["a"]),
        np.array([b"a"]),
        np.array(["a", "b"], dtype=object),
        np.array([None, "b"], dtype=object),  # the fingerprint names the position of the missing one
        pd.Series(["a", "b"]),
        pd.Series(["a", "b"], dtype="category"),
        ["a", "b"],
        [["a"], ["b"]],
        "a",
    ],
)
def test_strings_are_no_numbers(value):
    assert numbers_of(value, "x") is None


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1, 2], torch.int64),
        ([1.5, 2], torch.float32),
        ([True, False], torch.bool),
        (3, torch.int64),
        (np.float16(3), torch.float16),
        (pd.Series([1, 2], dtype="Int64"), torch.int64),
        (pd.Series([1, 2], dtype="Int8"), torch.int8),
        (pd.Series([1.5, 2.0]), torch.float32),
        (pd.Series([1, 2], dtype="category"), torch.int64),
        (pd.Series([True, False]), torch.bool),
        (np.array([1, 2], dtype=object), torch.int64),
        (np.array([1.5, float("nan")], dtype=object), torch.float32),
        (np.arange(3, dtype=">i4"), torch.int32),
        (np.arange(3, dtype=">f8"), torch.float32),
        (np.arange(3, dtype=np.longdouble), torch.float32),
        (np.arange(3, dtype=np.float16), torch.float16),
        (np.arange(3, dtype=np.uint16), torch.uint16),
        (np.arange(3, dtype=np.complex64), torch.complex64),
        (range(3), None),
    ],
)
def test_numbers_keep_their_type_except_float64(value, dtype):
    if dtype is None:
        with pytest.raises(TypeError, match="range"):
            numbers_of(value, "x")
        return
    numbers = numbers_of(value, "x")
    tensor = to_tensor(numbers)
    assert tensor.dtype is dtype
    np.testing.assert_array_equal(tensor.numpy(), np.asarray(value).astype(tensor.numpy().dtype))


def test_float64_follows_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert to_tensor(np.zeros(2)).dtype is torch.float64
        assert to_tensor(np.zeros(2, np.float32)).dtype is torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_float64_tensors_stay():
    tensor = torch.zeros(3, dtype=torch.float64)
    assert to_tensor(numbers_of(tensor, "x")) is tensor


def test_memory_is_shared_where_it_can_be():
    array = np.zeros(3, np.float32)
    to_tensor(array)[0] = 1
    assert array[0] == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: np.lib.stride_tricks.as_strided(a, writeable=False),
        lambda a: np.broadcast_to(a[0], a.shape),
        lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
        lambda a: np.array(list(zip(a[:, 0], b"xyz", strict=True)), dtype=[("value", "f4"), ("mark", "u1")])["value"],
    ],
)
def test_odd_memory_layouts_are_copied_without_a_warning(make):
    array = make(np.arange(6, dtype=np.float32).reshape(3, 2))
    before = array.copy()
    tensor = to_tensor(array)
    np.testing.assert_array_equal(tensor.numpy(), before)
    tensor.zero_()
    np.testing.assert_array_equal(array, before)


def test_rows_of_equal_length_in_an_object_column_become_a_matrix():
    numbers = numbers_of(pd.Series([[1, 2], [3, 4], [5, 6]]), "x")
    assert numbers.tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"Received: None \(NoneType\)"),
        ([1.0, None], "missing value at position 1.*fillna"),
        (pd.Series([1, None], dtype="Int64"), "missing value at position 1"),
        (np.array([np.datetime64("2020-01-01")]), r"dates or times.*datetime64\[D\]"),
        (np.array([np.timedelta64(1, "s")]), "dates or times"),
        ([datetime.date(2020, 1, 1)], "dates or times"),
        (pd.Series(pd.date_range("2020", periods=2, tz="UTC")), "dates or times"),
        ([[1, 2], [3]], r"different lengths.*2, 1\. Pad"),
        (pd.Series([np.zeros(2), np.zeros(3)]), "different lengths.*2, 3"),
        ([1, "a"], r"mixes numbers and strings.*1 at position 0, 'a' at position 1"),
        (np.array([decimal.Decimal(1)], dtype=object), "Decimal"),
        (np.zeros(2, dtype=[("a", "f4"), ("b", "i4")]), r"fields \['a', 'b'\]"),
        (object(), "must be a torch tensor"),
    ],
)
def test_what_is_no_column_says_why(value, message):
    with pytest.raises(TypeError, match=rf'`x\["a"\]` .*{message}'):
        numbers_of(value, 'x["a"]')


def test_lists_are_data_if_they_begin_with_a_scalar():
    assert is_data([1, 2])
    assert is_data([["a"]])
    assert is_data([])
    assert is_data((np.float32(1),))
    assert not is_data([torch.zeros(1)])
    assert not is_data([[np.zeros(1)], 1])
    assert not is_data([{"a": 1}])


def test_missing_values():
    assert all(map(is_missing, [None, float("nan"), pd.NA, pd.NaT, np.float64("nan")]))
    assert not any(map(is_missing, [0, "", "nan", 1.5, False]))
