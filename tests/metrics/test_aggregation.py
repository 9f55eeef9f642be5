import pytest
import torch

from torchestimator import metrics


def test_mean_of_nothing_is_zero() -> None:
    assert metrics.mean(torch.zeros(0)).compute().item() == 0.0
    assert metrics.mean(torch.ones(3), weights=0.0).compute().item() == 0.0


def test_mean_with_a_negative_total_weight_is_zero() -> None:
    assert metrics.mean(torch.tensor([1.0, 2.0]), weights=torch.tensor([1.0, -3.0])).compute().item() == 0.0


def test_mean_shows_nan() -> None:
    metric = metrics.mean(torch.tensor([1.0, float("nan")])).merge(metrics.mean(torch.tensor([2.0])))
    assert metric.compute().isnan()


def test_mean_of_a_loss_over_batches() -> None:
    metric = metrics.mean(torch.tensor(0.5)).merge(metrics.mean(torch.tensor(1.5)))
    assert metric.compute().item() == 1.0


def test_sum_and_ratio_as_building_blocks() -> None:
    total = metrics.Sum().update(torch.tensor([1, 2, 3])).update(torch.tensor([4]), weights=0.5)
    assert total.compute().item() == 8.0
    clicks_per_view = metrics.Ratio().update(torch.tensor([1, 0]), torch.tensor([4, 2]), weights=torch.tensor([1, 2]))
    assert clicks_per_view.compute().item() == 1 / 8
    assert metrics.Ratio().update(torch.zeros(1), torch.zeros(1)).compute().item() == 0.0
    assert metrics.Ratio(empty=float("nan")).update(torch.zeros(1), torch.zeros(1)).compute().isnan()


def test_mean_tensor_leaves_unweighted_elements_at_zero() -> None:
    metric = metrics.mean_tensor(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), weights=torch.tensor([1.0, 0.0]))
    assert metric.compute().tolist() == [[1.0, 2.0], [0.0, 0.0]]


def test_mean_tensor_does_not_change_what_it_was_given() -> None:
    values = torch.ones(3, dtype=torch.float64)
    metrics.mean_tensor(values).merge(metrics.mean_tensor(torch.full((3,), 2.0)))
    assert values.tolist() == [1.0, 1.0, 1.0]


def test_percentage_below_a_threshold_per_value() -> None:
    values = torch.tensor([1.0, 2.0, 3.0])
    assert metrics.percentage_below(values, torch.tensor([2.0, 2.0, 2.0])).compute().item() == pytest.approx(1 / 3)
    assert metrics.percentage_below(values, torch.tensor(2.5)).compute().item() == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match=r"`threshold` must be a number.*threshold \[3, 1\], values \[3\]"):
        metrics.percentage_below(values, torch.ones(3, 1))
