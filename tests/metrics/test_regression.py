import pytest
import torch
from sklearn import metrics as sklearn_metrics

from torchestimator import metrics


def test_scikit_learn_agrees() -> None:
    generator = torch.Generator().manual_seed(1)
    labels, predictions, weights = torch.randn(3, 50, generator=generator).double()
    weights = weights.abs()
    for ours, theirs in (
        (metrics.mean_absolute_error, sklearn_metrics.mean_absolute_error),
        (metrics.mean_squared_error, sklearn_metrics.mean_squared_error),
        (metrics.root_mean_squared_error, sklearn_metrics.root_mean_squared_error),
    ):
        expected = theirs(labels.numpy(), predictions.numpy(), sample_weight=weights.numpy())
        assert ours(labels, predictions, weights).compute().item() == pytest.approx(expected, rel=1e-12)


def test_bytes_do_not_wrap_around() -> None:
    labels, predictions = torch.tensor([1, 255], dtype=torch.uint8), torch.tensor([3, 0], dtype=torch.uint8)
    assert metrics.mean_absolute_error(labels, predictions).compute().item() == (2 + 255) / 2
    assert metrics.mean_squared_error(labels, predictions).compute().item() == (4 + 255**2) / 2


def test_bfloat16_is_not_rounded_again() -> None:
    labels = torch.full((1000,), 0.0, dtype=torch.bfloat16)
    predictions = torch.full((1000,), 0.1, dtype=torch.bfloat16)
    expected = float(predictions[0]) ** 2
    assert metrics.mean_squared_error(labels, predictions).compute().item() == pytest.approx(expected, rel=1e-12)


def test_root_is_taken_of_the_whole_mean() -> None:
    zeros = torch.zeros(1)
    metric = metrics.root_mean_squared_error(zeros, zeros + 3).merge(metrics.root_mean_squared_error(zeros, zeros + 4))
    assert metric.compute().item() == pytest.approx(12.5**0.5)


def test_relative_error_over_zero_counts_as_zero() -> None:
    metric = metrics.mean_relative_error(
        torch.tensor([0.0, 2.0]), torch.tensor([5.0, 3.0]), torch.tensor([[0.0], [2.0]])
    )
    assert metric.compute().item() == 0.25


def test_relative_error_refuses_a_normalizer_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"`normalizer` and `predictions`.*normalizer \[3\], predictions \[2\]"):
        metrics.mean_relative_error(torch.ones(2), torch.ones(2), torch.ones(3))


def test_cosine_distance() -> None:
    vectors = torch.eye(3)
    assert metrics.mean_cosine_distance(vectors, vectors, dim=1).compute().item() == 0.0
    assert metrics.mean_cosine_distance(vectors, vectors.roll(1, 0), dim=1).compute().item() == 1.0
    assert metrics.mean_cosine_distance(vectors, -vectors, 1, weights=torch.ones(3)).compute().item() == 2.0
    # As TensorFlow: nothing averaged is no similarity.
    assert metrics.mean_cosine_distance(torch.zeros(0, 3), torch.zeros(0, 3), 1).compute().item() == 1.0
