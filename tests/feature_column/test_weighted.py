import pytest
import torch
from torch import tensor

from torchestimator import feature_column as fc

IDS = fc.categorical_column_with_identity("i", 3)


def counts(features, dtype=torch.float32):
    return fc.DenseFeatures([fc.indicator_column(fc.weighted_categorical_column(IDS, "w", dtype))])(features).tolist()


def test_an_indicator_is_the_sum_of_the_weights():
    features = {"i": [[0, 1], [2, 2]], "w": [[0.5, 2.0], [1.0, -3.0]]}
    assert counts(features) == [[0.5, 2.0, 0.0], [0.0, 0.0, -2.0]]
    assert counts({"i": [[0, -1]], "w": [[5, 7]]}, torch.int64) == [[5.0, 0.0, 0.0]]


def test_ragged_weights():
    offsets = tensor([0, 2, 2, 3])
    ids, weights = fc.RaggedFeature(tensor([0, 1, 2]), offsets), fc.RaggedFeature(tensor([0.5, 2.0, 3.0]), offsets)
    assert counts({"i": ids, "w": weights}) == [[0.5, 2.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 3.0]]


def test_names():
    column = fc.weighted_categorical_column(IDS, "w")
    assert (column.name, column.num_buckets) == ("i_weighted_by_w", 3)
    assert sorted(column.parse_example_spec) == ["i", "w"]


def test_weights_that_do_not_fit():
    with pytest.raises(ValueError, match=r"'w' of the column 'i'.*shape \[1, 1\] for ids of shape \[1, 2\]"):
        counts({"i": [[0, 1]], "w": [[0.5]]})
    with pytest.raises(TypeError, match=r"must have the dtype torch.float32. Received: torch.int64"):
        counts({"i": [[0]], "w": [[1]]})
    ids = fc.RaggedFeature(tensor([0, 1, 2]), tensor([0, 2, 3]))
    weights = fc.RaggedFeature(tensor([0.5, 1.0, 2.0]), tensor([0, 1, 3]))
    with pytest.raises(ValueError, match=r"fewer weights than ids in the rows \[0\]"):
        counts({"i": ids, "w": weights})


def test_bad_arguments():
    with pytest.raises(TypeError, match="`categorical_column`"):
        fc.weighted_categorical_column(fc.numeric_column("n"), "w")
    with pytest.raises(ValueError, match="`dtype`"):
        fc.weighted_categorical_column(IDS, "w", "string")
