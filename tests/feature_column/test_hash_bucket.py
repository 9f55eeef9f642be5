import pytest
import torch

from tests.feature_column.ids import flat_ids_of, ids_of
from torchestimator import feature_column as fc

STRINGS = {
    "a": (9, 39, 939),
    "b": (2, 22, 822),
    "c": (2, 72, 872),
    "abc": (5, 85, 385),
    "hello": (6, 96, 296),
    "world": (8, 98, 598),
    "1": (9, 49, 849),
    "12": (8, 88, 888),
    "-1": (0, 30, 430),
    "0": (5, 35, 735),
    "foo": (1, 71, 171),
    "bar": (9, 39, 639),
    "M": (6, 56, 356),
    "F": (6, 66, 966),
    "tensorflow": (6, 6, 506),
    "\u00e9": (5, 25, 25),
    "\u65e5\u672c": (3, 83, 883),
    "x" * 100: (9, 19, 719),
    "The quick brown fox jumps over the lazy dog": (4, 84, 284),
}
INTEGERS = [0, 1, 2, 5, 10, 42, 100, 1234567, -5, 2**40]


@pytest.mark.parametrize(("place", "size"), [(0, 10), (1, 100), (2, 1000)])
def test_strings_have_the_buckets_of_tensorflow(place, size):
    column = fc.categorical_column_with_hash_bucket("word", size)
    assert flat_ids_of(column, {"word": list(STRINGS)}) == [buckets[place] for buckets in STRINGS.values()]


def test_integers_have_the_buckets_of_tensorflow():
    column = fc.categorical_column_with_hash_bucket("number", 10, dtype=torch.int64)
    assert flat_ids_of(column, {"number": INTEGERS}) == [5, 9, 9, 1, 2, 6, 5, 3, 6, 8]
    column = fc.categorical_column_with_hash_bucket("number", 1000, "int64")
    numbers = torch.tensor(INTEGERS)
    assert flat_ids_of(column, {"number": numbers}) == [735, 849, 759, 971, 862, 736, 355, 423, 816, 378]
    assert flat_ids_of(column, {"number": numbers[:7].to(torch.int32)}) == [735, 849, 759, 971, 862, 736, 355]


def test_missing_values_have_no_bucket_in_ordinary_tensors():
    words = fc.categorical_column_with_hash_bucket("word", 1000)
    assert ids_of(words, {"word": [["a", ""], ["", ""]]}) == [[939], []]
    numbers = fc.categorical_column_with_hash_bucket("number", 10, torch.int64)
    assert ids_of(numbers, {"number": torch.tensor([[1, -1]])}) == [[9]]


def test_ragged_features_have_no_missing_values():
    words = fc.categorical_column_with_hash_bucket("number", 10, torch.int64)
    ragged = fc.RaggedFeature(torch.tensor([-1, 1]), torch.tensor([0, 2, 2]))
    assert ids_of(words, {"number": ragged}) == [[0, 9], []]


def test_other_dtypes_are_refused():
    words = fc.categorical_column_with_hash_bucket("word", 10)
    with pytest.raises(TypeError, match=r"'word' for strings.*float32.*dtype=torch.int64"):
        ids_of(words, {"word": torch.zeros(2)})
    numbers = fc.categorical_column_with_hash_bucket("word", 10, torch.int64)
    with pytest.raises(TypeError, match=r"'word' for whole numbers.*float32"):
        ids_of(numbers, {"word": torch.zeros(2)})
    with pytest.raises(ValueError, match=r"\[batch, k\].*\[2, 1, 1\]"):
        ids_of(words, {"word": torch.zeros(2, 1, 1, dtype=torch.int64)})


def test_numbers_for_strings_are_noticed_in_the_first_batch():
    layer = fc.LinearModel([fc.categorical_column_with_hash_bucket("word", 10)])
    with pytest.raises(TypeError, match=r"'word' for strings, but it holds numbers. Received: \[3, 4\]"):
        layer({"word": torch.tensor([3, 4])})


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`hash_bucket_size`.*Received: 0"):
        fc.categorical_column_with_hash_bucket("word", 0)
    with pytest.raises(ValueError, match=r"`dtype`.*torch.float32.*bucketized_column"):
        fc.categorical_column_with_hash_bucket("word", 3, torch.float32)
    with pytest.raises(TypeError, match=r"`key`.*Received: 3"):
        fc.categorical_column_with_hash_bucket(3, 3)
