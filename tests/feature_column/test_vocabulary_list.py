import numpy as np
import pytest
import torch

from tests.feature_column.ids import flat_ids_of, ids_of
from torchestimator import feature_column as fc


def test_ids_are_positions():
    column = fc.categorical_column_with_vocabulary_list("v", ["p", "q", "r\u00e9"])
    assert (column.num_buckets, column.name, column.dtype) == (3, "v", str)
    assert ids_of(column, {"v": [["q", "p"], ["r\u00e9", "other"], ["", ""]]}) == [[1, 0], [2, -1], []]


def test_other_values_have_buckets_of_their_own():
    words = fc.categorical_column_with_vocabulary_list("v", ["p", "q"], num_oov_buckets=3)
    assert flat_ids_of(words, {"v": ["r", "s", "t", "u", "xyz", "q"]}) == [3, 3, 3, 4, 3, 1]
    assert words.num_buckets == 5
    numbers = fc.categorical_column_with_vocabulary_list("v", np.array([5, 6, 7]), num_oov_buckets=2)
    assert flat_ids_of(numbers, {"v": [8, 9, 10, 7]}) == [4, 4, 3, 2]
    assert numbers.dtype is torch.int64


def test_other_values_can_have_an_id():
    column = fc.categorical_column_with_vocabulary_list("v", [b"p", b"q"], default_value=1)
    assert ids_of(column, {"v": ["p", "x", ""]}) == [[0], [1], []]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "one or more strings"),
        (("pq",), ValueError, "one or more strings"),
        ((["p", "q", "p"],), ValueError, r"more than once: \['p'\]"),
        ((["p", 3],), TypeError, "all strings or all whole numbers"),
        (([1.5],), TypeError, "float"),
        ((["p"], torch.int64), ValueError, "must agree"),
        ((["p", "q"], None, 2), ValueError, "0 to 1, or -1"),
        ((["p", "q"], None, 1, 2), ValueError, "Leave one out"),
        ((["p", "q"], None, -1, -2), ValueError, "`num_oov_buckets`"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        fc.categorical_column_with_vocabulary_list("v", *arguments)
