"""Which shapes of labels, predictions and weights fit, and that nothing else is made to fit."""

import numpy as np
import pytest
import torch

from torchestimator import metrics
from torchestimator.metrics.alignment import align_pair, align_weights


@pytest.mark.parametrize(
    ("labels", "predictions", "expected"),
    [
        ((8,), (8,), (8,)),
        ((8,), (8, 1), (8,)),
        ((8, 1), (8,), (8,)),
        ((8, 1), (8, 1), (8, 1)),
        ((8, 3), (8, 3, 1), (8, 3)),
        ((), (1,), ()),
        ((1,), (1, 1), (1,)),
        ((0,), (0, 1), (0,)),
    ],
)
def test_trailing_one_is_dropped(
    labels: tuple[int, ...], predictions: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    aligned = align_pair(torch.zeros(labels), torch.zeros(predictions))
    assert [tuple(tensor.shape) for tensor in aligned] == [expected, expected]


@pytest.mark.parametrize(
    ("labels", "predictions"), [((8,), (7,)), ((8,), (8, 3)), ((8, 1), (8, 3)), ((8,), (1, 8)), ((8,), (8, 1, 1))]
)
def test_other_shapes_are_refused(labels: tuple[int, ...], predictions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`labels` and `predictions` must have the same shape.*Received: labels \["):
        metrics.mean_squared_error(torch.zeros(labels), torch.zeros(predictions))


def test_scores_get_the_advice_to_take_the_best_class() -> None:
    with pytest.raises(ValueError, match=r"labels \[8\], predictions \[8, 3\]\..*predictions\.argmax\(-1\)"):
        metrics.accuracy(torch.zeros(8, dtype=torch.int64), torch.zeros(8, 3))


def test_column_against_row_is_not_a_matrix() -> None:
    labels, predictions = torch.arange(4.0), torch.arange(4.0).unsqueeze(1)
    assert metrics.mean_absolute_error(labels, predictions).compute().item() == 0.0
    assert metrics.mean(torch.arange(4.0), weights=torch.ones(4, 1)).state["count"].item() == 4
    assert metrics.mean(torch.arange(4.0).unsqueeze(1), weights=torch.ones(4)).state["count"].item() == 4


@pytest.mark.parametrize(
    ("weights", "values"),
    [
        ((), (4,)),
        ((4,), (4,)),
        ((4, 1), (4,)),
        ((4,), (4, 1)),
        ((4, 1), (4, 1)),
        ((4,), (4, 3)),
        ((4, 1), (4, 3)),
        ((1, 3), (4, 3)),
        ((4, 3), (4, 3)),
        ((4,), (4, 3, 2)),
        ((1,), (4,)),
        ((0,), (0, 3)),
    ],
)
def test_weights_that_fit(weights: tuple[int, ...], values: tuple[int, ...]) -> None:
    given = torch.rand(weights)
    aligned = align_weights(given, torch.zeros(values))
    assert aligned.shape == values
    assert aligned.dtype == torch.float64
    rank = len(values)
    expected = given.reshape(weights[:rank] + (1,) * (rank - len(weights))).double().expand(values)
    torch.testing.assert_close(aligned, expected)


@pytest.mark.parametrize(
    ("weights", "values"),
    [((3,), (4,)), ((1, 4), (4,)), ((3,), (4, 3)), ((4, 2), (4, 3)), ((4, 1, 1), (4,)), ((2,), ()), ((4, 3), (4,))],
)
def test_weights_that_do_not_fit(weights: tuple[int, ...], values: tuple[int, ...]) -> None:
    expected = rf"`weights` must be a number.*Received: weights {list(weights)}, values {list(values)}".replace(
        "[", r"\["
    )
    with pytest.raises(ValueError, match=expected):
        metrics.mean(torch.zeros(values), weights=torch.ones(weights))


@pytest.mark.parametrize("weight", [2, 0.5, True, np.float32(3), np.array(2), torch.tensor(4)])
def test_one_weight_for_all(weight: float) -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    metric = metrics.mean(values, weights=weight)
    assert metric.compute().item() == pytest.approx(3.0)
    assert metric.state["count"].item() == 3 * float(weight)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.int64, torch.bfloat16, torch.float64])
def test_any_dtype(dtype: torch.dtype) -> None:
    labels = torch.tensor([1, 0, 1, 1]).to(dtype)
    predictions = torch.tensor([1, 1, 0, 1]).to(dtype)
    weights = torch.tensor([1, 0, 1, 1]).to(dtype)
    assert metrics.accuracy(labels, predictions).compute().item() == 0.5
    assert metrics.accuracy(labels, predictions, weights).compute().item() == pytest.approx(2 / 3)
    assert metrics.precision(labels, predictions, weights).compute().item() == 1.0
    assert metrics.mean_absolute_error(labels, predictions, weights).compute().item() == pytest.approx(1 / 3)
    assert metrics.mean_squared_error(labels, predictions).compute().item() == 0.5
    assert metrics.auc(labels, predictions).compute().item() == pytest.approx(1 / 3, abs=1e-9)
    assert metrics.mean(labels, weights).compute().item() == 1.0


def test_arrays_and_lists_are_taken() -> None:
    assert metrics.accuracy(np.array([1, 2]), [1, 3]).compute().item() == 0.5
    assert metrics.mean([1.0, 2.0, 4.5], weights=np.array([1, 1, 2])).compute().item() == 3.0
