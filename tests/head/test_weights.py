"""Weights from a feature."""

from types import SimpleNamespace

import pytest
import torch

from torchestimator import feature_column
from torchestimator.head.weights import check_weight_column, weights_of

LOGITS = torch.zeros(3, 2)
COLUMN = SimpleNamespace(key="w", normalizer_fn=lambda weights: weights / 2)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool, torch.float64])
def test_one_for_each_example(shape, dtype):
    weights = torch.ones(shape, dtype=dtype)
    found = weights_of({"w": weights}, "w", LOGITS, None, per_output=False)
    assert torch.equal(found, torch.ones(3, 1))
    assert found.dtype == torch.float32


def test_one_for_each_output_where_that_is_allowed():
    weights = torch.rand(3, 2)
    assert torch.equal(weights_of({"w": weights}, "w", LOGITS, None, per_output=True), weights)
    with pytest.raises(ValueError, match=r"shape \[3\], \[3, 1\]. Received: shape \[3, 2\]"):
        weights_of({"w": weights}, "w", LOGITS, None, per_output=False)
    with pytest.raises(ValueError, match=r"\[3\], \[3, 1\] or \[3, 2\]. Received: shape \[3, 3\]"):
        weights_of({"w": torch.rand(3, 3)}, "w", LOGITS, None, per_output=True)


def test_without_weights():
    assert weights_of(None, None, LOGITS, None, per_output=False) is None
    mask = torch.tensor([[True], [False], [True]])
    assert weights_of(None, None, LOGITS, mask, per_output=False).tolist() == [[1], [0], [1]]


def test_a_column_may_normalise():
    found = weights_of(
        {"w": torch.tensor([2.0, 4.0, 0.0])}, check_weight_column(COLUMN), LOGITS, None, per_output=False
    )
    assert found.tolist() == [[1], [2], [0]]
    plain = check_weight_column(SimpleNamespace(key="w"))
    assert weights_of({"w": [2.0, 4.0, 0.0]}, plain, LOGITS, None, per_output=False).tolist() == [[2], [4], [0]]


@pytest.mark.parametrize(
    "column", [3, SimpleNamespace(key=3), object(), feature_column.categorical_column_with_identity("w", 3)]
)
def test_bad_columns(column):
    with pytest.raises(TypeError, match=r'`weight_column` must be the name.*weight_column="weight"'):
        check_weight_column(column)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ({"x": LOGITS, "a": LOGITS}, ValueError, r"'w', which is not there. Received: features \['a', 'x'\]"),
        (LOGITS, TypeError, "`features` must be a dict"),
        ({"w": torch.ones(2)}, ValueError, r"Received: shape \[2\]"),
        (
            {"w": torch.tensor([1.0, -2.0, float("nan")])},
            ValueError,
            r"0 or more. Received: -2 \(row 1\), nan \(row 2\)",
        ),
        ({"w": torch.ones(3, dtype=torch.complex64)}, TypeError, "real numbers"),
    ],
)
def test_bad_weights(features, error, message):
    with pytest.raises(error, match=message):
        weights_of(features, "w", LOGITS, None, per_output=False)
