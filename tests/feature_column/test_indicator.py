import pytest
import torch

from torchestimator import feature_column as fc


def test_values_are_counted():
    column = fc.indicator_column(fc.categorical_column_with_vocabulary_list("v", ["a", "b", "c"]))
    assert (column.name, column.variable_shape) == ("v_indicator", (3,))
    features = {"v": [["a", "b", "a"], ["other", "", "c"], ["", "", ""]]}
    assert fc.DenseFeatures([column])(features).tolist() == [[2.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def test_examples_without_values():
    column = fc.indicator_column(fc.categorical_column_with_identity("i", 2))
    empty = fc.RaggedFeature(torch.zeros(0, dtype=torch.int64), torch.tensor([0, 0, 0]))
    assert fc.DenseFeatures([column])({"i": empty}).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_numbers_are_refused():
    with pytest.raises(TypeError, match=r"`categorical_column` of indicator_column"):
        fc.indicator_column(fc.numeric_column("n"))
