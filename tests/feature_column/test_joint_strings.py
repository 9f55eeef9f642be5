import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.feature_column.joint import assert_same_ids, assert_same_values, ids_both_ways
from torchestimator import feature_column as fc
from torchestimator.inputs.ragged import RaggedFeature

WORDS = ["", "a", "b", "gr\u00fcn", "\u65e5\u672c", "x" * 70, "7"]

hashed, listed = fc.categorical_column_with_hash_bucket, fc.categorical_column_with_vocabulary_list


@settings(deadline=None, max_examples=40)
@given(st.data(), st.integers(1, 4))
def test_ids_are_those_of_each_column(data, num_columns):
    columns, features = [], {}
    rows = data.draw(st.integers(1, 5))
    for number in range(num_columns + 1):
        key = f"feature {number}"
        features[key] = np.array(data.draw(st.lists(st.sampled_from(WORDS), min_size=rows, max_size=rows)), object)
        if data.draw(st.booleans()):
            columns.append(hashed(key, data.draw(st.integers(1, 3000))))
        else:
            vocabulary = data.draw(st.lists(st.sampled_from(WORDS[1:]), min_size=1, unique=True))
            columns.append(listed(key, vocabulary, default_value=data.draw(st.integers(-1, len(vocabulary) - 1))))
    for found in ids_both_ways(columns, features):
        assert_same_ids(*found)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_words_of_a_file_and_of_lists(shape, tmp_path):
    (tmp_path / "words").write_text("b\nx\na\n")
    from_file = fc.categorical_column_with_vocabulary_file("file", tmp_path / "words", default_value=2)
    features = {
        "file": np.array(["a", "", "other"], object).reshape(shape),
        "list": np.array(["x", "b", "a"], object).reshape(shape),
        "hash": np.array(["", "b", "a"], object).reshape(shape),
    }
    found = list(ids_both_ways([from_file, listed("list", ["a", "b"]), hashed("hash", 5)], features))
    for each in found:
        assert_same_ids(*each)
    assert found[0][2].tolist() == [[2], [-1], [2]]
    assert found[1][2].tolist() == [[-1], [1], [0]]


@pytest.mark.parametrize(
    "odd",
    [
        np.array([["a", "b"], ["", "a"]], object),
        RaggedFeature(np.array(["a", "b", "a"], object), np.array([0, 1, 3])),
        torch.tensor([[5**25, 0], [0, 6**20]]).to_sparse(),
    ],
)
def test_other_features_are_computed_one_by_one(odd):
    features = {"one": np.array(["a", "b"], object), "several": odd}
    together, _ = assert_same_values(fc.LinearModel([hashed("one", 9), hashed("several", 9)]), features)
    assert not together.has_joint({hashed("one", 9).identity: 0})


def test_two_layers_compute_them_once():
    columns = [hashed("one", 9), hashed("two", 9)]
    cache = fc.FeatureTransformationCache({"one": torch.tensor([5**25]), "two": torch.tensor([6**20])})
    first = fc.LinearModel(columns).view(cache).single_ids(columns[0])
    assert fc.LinearModel(columns).view(cache).single_ids(columns[0]) is first
