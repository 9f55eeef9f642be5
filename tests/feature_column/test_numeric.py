import pytest
import torch

from torchestimator import feature_column as fc
from torchestimator import io


def values(column, features):
    return fc.DenseFeatures([column])(features)


def test_numbers_are_as_they_are():
    assert values(fc.numeric_column("n"), {"n": torch.tensor([1, 2])}).tolist() == [[1.0], [2.0]]
    assert values(fc.numeric_column("n", 2), {"n": [[1.5, 2.5]]}).tolist() == [[1.5, 2.5]]
    assert values(fc.numeric_column("n", (2, 2)), {"n": torch.ones(3, 2, 2)}).shape == (3, 4)
    assert values(fc.numeric_column("n"), {"n": torch.tensor([1.0], dtype=torch.float64)}).dtype is torch.float32


def test_the_normalizer_comes_first():
    column = fc.numeric_column("n", normalizer_fn=lambda x: (x - 3) / 2)
    assert values(column, {"n": torch.tensor([5, 4])}).tolist() == [[1.0], [0.5]]


def test_the_default_is_for_examples_only():
    column = fc.numeric_column("n", shape=(2,), default_value=7)
    assert column.parse_example_spec == {"n": io.FixedLenFeature((2,), torch.float32, (7.0, 7.0))}
    column = fc.numeric_column("n", default_value=[3], dtype=torch.int32)
    assert column.parse_example_spec == {"n": io.FixedLenFeature((1,), torch.int64, (3,))}
    with pytest.raises(ValueError, match="needs the feature 'n'"):
        values(column, {"m": [1]})


def test_missing_features_are_suggested():
    with pytest.raises(ValueError, match=r"Did you mean 'agee'\? Received: features \['agee', 'job'\]"):
        values(fc.numeric_column("age"), {"agee": [1], "job": ["x"]})


def test_other_values_are_refused():
    column = fc.numeric_column("n")
    with pytest.raises(ValueError, match=r"1 values in each example.*\[2, 3\].*shape=\(3,\)"):
        values(column, {"n": torch.zeros(2, 3)})
    with pytest.raises(TypeError, match=r"'n' for numbers, but it seems to hold strings"):
        values(column, {"n": ["a", "b", "c"]})
    with pytest.raises(TypeError, match=r"'n' must be an ordinary tensor.*a sparse tensor"):
        values(column, {"n": torch.eye(2).to_sparse(2)})
    with pytest.raises(TypeError, match="RaggedFeature"):
        values(column, {"n": fc.RaggedFeature(torch.ones(2), torch.tensor([0, 2]))})
    with pytest.raises(TypeError, match="real numbers"):
        values(column, {"n": torch.ones(2, dtype=torch.complex64)})
    with pytest.raises(ValueError, match="a single number"):
        values(column, {"n": torch.tensor(1.0)})
    with pytest.raises(TypeError, match="must be one tensor"):
        values(column, {"n": {"m": [1.0]}})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"shape": (0,)}, ValueError, "`shape`"),
        ({"shape": "2"}, ValueError, "`shape`"),
        ({"dtype": "string"}, ValueError, "`dtype`.*categorical column"),
        ({"default_value": [1, 2]}, ValueError, "`default_value`"),
        ({"default_value": "x"}, ValueError, "`default_value`"),
        ({"normalizer_fn": 3}, TypeError, "`normalizer_fn`"),
        ({"key": 3}, TypeError, "`key`"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        fc.numeric_column(**{"key": "n", **arguments})
