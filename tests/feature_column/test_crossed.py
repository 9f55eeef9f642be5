import pytest
import torch

from tests.feature_column.ids import flat_ids_of, ids_of
from torchestimator import feature_column as fc

ONE = {"a": ["x", "y", ""], "b": ["u", "v", "w"]}


def test_strings_have_the_ids_of_tensorflow():
    assert flat_ids_of(fc.crossed_column(["a", "b"], 1000), ONE) == [989, 134, 325]
    assert flat_ids_of(fc.crossed_column(["a", "b"], 10), ONE) == [9, 4, 5]
    assert flat_ids_of(fc.crossed_column(["b", "a"], 1000), ONE)[:2] == [920, 547]
    assert flat_ids_of(fc.crossed_column(["a", "b"], 1000, hash_key=1), ONE)[:2] == [952, 344]
    assert flat_ids_of(fc.crossed_column(["a", "b", "c"], 1000), {"a": ["x"], "b": ["u"], "c": ["z"]}) == [311]


def test_integers_are_crossed_as_they_are():
    column = fc.crossed_column(["a", "b"], 1000)
    assert flat_ids_of(column, {"a": [1, 2, -1], "b": [3, 4, 5]}) == [651, 547, 399]
    assert flat_ids_of(column, {"a": ["x", "y"], "b": [1, 2]}) == [727, 832]


def test_columns_come_before_ordinary_tensors():
    buckets = fc.bucketized_column(fc.numeric_column("n"), [0, 10])
    assert flat_ids_of(fc.crossed_column([buckets, "s"], 1000), {"n": [-1.0, 12], "s": ["x", "y"]}) == [43, 604]
    identity = fc.categorical_column_with_identity("i", 10)
    features = {"i": [3, 7], "s": ["x", "y"]}
    assert flat_ids_of(fc.crossed_column([identity, "s"], 1000), features) == [419, 882]
    assert flat_ids_of(fc.crossed_column(["s", identity], 1000), features) == [419, 882]
    words = fc.categorical_column_with_vocabulary_list("v", ["p", "q"])
    assert flat_ids_of(fc.crossed_column([words, "s"], 1000), {"v": ["p", "zz"], "s": ["x", "y"]}) == [43, 808]


def test_several_values_give_all_their_pairs():
    column = fc.crossed_column(["a", "b"], 1000)
    assert ids_of(column, {"a": [["x", "y"]], "b": [["u", "v"]]}) == [[989, 431, 132, 134]]


def test_examples_without_a_value_have_no_pair():
    words = fc.categorical_column_with_vocabulary_list("v", ["p", "q"])
    column = fc.crossed_column([words, "s"], 1000)
    assert ids_of(column, {"v": ["p", ""], "s": [["x"], ["y"]]}) == [[43], []]
    assert ids_of(column, {"v": [["p", ""]], "s": [["x", "x"]]}) == [[43, 43]]


def test_crosses_are_crossed_by_their_own_keys():
    inner = fc.crossed_column(["c", "a"], 5)
    outer = fc.crossed_column([inner, "b"], 1000)
    features = {"a": ["x"], "b": ["u"], "c": ["z"]}
    assert outer.name == "a_X_b_X_c"
    assert flat_ids_of(outer, features) == flat_ids_of(fc.crossed_column(["c", "a", "b"], 1000), features)


def test_bad_keys():
    with pytest.raises(ValueError, match=r"`keys` of crossed_column must list two"):
        fc.crossed_column(["a"], 10)
    with pytest.raises(TypeError, match=r"hash bucket column.*crossed_column\(\['h', ...\]"):
        fc.crossed_column(["a", fc.categorical_column_with_hash_bucket("h", 3)], 10)
    with pytest.raises(TypeError, match=r"bucketized_column"):
        fc.crossed_column(["a", fc.numeric_column("n")], 10)
    weighted = fc.weighted_categorical_column(fc.categorical_column_with_identity("i", 3), "w")
    with pytest.raises(TypeError, match="weights"):
        fc.crossed_column(["a", weighted], 10)
    with pytest.raises(ValueError, match="`hash_key`"):
        fc.crossed_column(["a", "b"], 10, hash_key=-1)
    with pytest.raises(ValueError, match=r"'a' must have the shape \[batch\] or \[batch, k\]"):
        ids_of(fc.crossed_column(["a", "b"], 10), {"a": torch.zeros(1, 2, 2), "b": [1]})
