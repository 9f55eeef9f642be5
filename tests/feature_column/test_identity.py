import pytest
import torch

from tests.feature_column.ids import ids_of
from torchestimator import feature_column as fc


def test_ids_are_the_values():
    column = fc.categorical_column_with_identity("i", 10)
    assert ids_of(column, {"i": [[3, 0], [9, -1]]}) == [[3, 0], [9]]


def test_values_out_of_range_have_the_default():
    column = fc.categorical_column_with_identity("i", 10, default_value=2)
    assert ids_of(column, {"i": [3, -1, 70, -2]}) == [[3], [], [2], [2]]


def test_negative_values_do_not_count():
    layer = fc.DenseFeatures([fc.indicator_column(fc.categorical_column_with_identity("i", 3))])
    assert layer({"i": torch.tensor([[1, -5]])}).tolist() == [[0.0, 1.0, 0.0]]


def test_ids_above_the_range_are_shown():
    column = fc.categorical_column_with_identity("i", 10)
    with pytest.raises(ValueError, match=r"from 0 to 9. Received: 4 outside, such as 10, 11, 99. Raise `num_buckets`"):
        ids_of(column, {"i": torch.tensor([1, 10, 11, 99, 12])})
    with pytest.raises(TypeError, match="seems to hold strings"):
        fc.LinearModel([column])({"i": ["a", "b", "c"]})


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"`num_buckets`.*Received: 0"):
        fc.categorical_column_with_identity("i", 0)
    with pytest.raises(ValueError, match=r"`default_value`.*0 to 2. Received: 3"):
        fc.categorical_column_with_identity("i", 3, 3)
