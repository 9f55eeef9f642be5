import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from torchestimator import metrics
from torchestimator.metrics import Metric
from torchestimator.metrics.thresholds import EvenThresholds, ListedThresholds

FOUR_COUNTS = (
    metrics.true_positives_at_thresholds,
    metrics.false_positives_at_thresholds,
    metrics.true_negatives_at_thresholds,
    metrics.false_negatives_at_thresholds,
)


@given(
    predictions=st.lists(st.floats(0, 1, width=32), max_size=30),
    thresholds=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
)
@settings(deadline=None, max_examples=60)
def test_counts_are_those_of_each_comparison(predictions: list[float], thresholds: list[float], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    given_predictions = torch.tensor(predictions, dtype=torch.float32)
    labels = torch.rand(len(predictions), generator=generator) < 0.5
    weights = torch.randint(0, 4, (len(predictions),), generator=generator)
    is_above = given_predictions > torch.tensor(thresholds, dtype=torch.float32).unsqueeze(1)
    expected = [(labels & is_above), (~labels & is_above), (~labels & ~is_above), (labels & ~is_above)]
    for function, cells in zip(FOUR_COUNTS, expected, strict=True):
        counts = function(labels, given_predictions, thresholds, weights).compute()
        assert counts.tolist() == (cells * weights).sum(1).tolist()


@given(predictions=st.lists(st.floats(0, 1, width=32), min_size=1, max_size=50), count=st.integers(2, 300))
@settings(deadline=None, max_examples=60)
def test_even_bins_are_those_of_the_comparison_up_to_rounding(predictions: list[float], count: int) -> None:
    values = torch.tensor(predictions)
    bins = EvenThresholds(count).bins(values)
    grid = torch.arange(count, dtype=torch.float64) / (count - 1)
    slack = 1e-6
    fewest = (values.double().unsqueeze(1) > grid + slack).sum(1) + 1
    most = (values.double().unsqueeze(1) > grid - slack).sum(1) + 1
    assert bool(((fewest <= bins) & (bins <= most)).all())


@pytest.mark.parametrize("thresholds", [EvenThresholds(11), ListedThresholds((0.2, 0.1))])
def test_bins_of_what_is_no_probability(thresholds: EvenThresholds | ListedThresholds) -> None:
    n = thresholds.count
    odd = torch.tensor([-math.inf, -3.0, -1e-7, 0.0, 1.0, 1.0 + 1e-6, 3.0, math.inf, math.nan])
    bins = thresholds.bins(odd).tolist()
    assert bins[:2] == [0, 0]
    assert bins[2:4] == [1, 1]
    assert bins[4] in (n, n + 1)
    assert bins[5] == n + 1
    assert bins[6:] == [n + 2, n + 2, n + 3]


@pytest.mark.parametrize("logit", [-2.0, 1.7, math.inf])
def test_logits_are_reported_once_computed(logit: float) -> None:
    labels, predictions = torch.tensor([0, 1, 1]), torch.tensor([0.3, logit, 0.6])
    for metric in (
        metrics.auc(labels, predictions),
        metrics.auc(labels, predictions, thresholds=[0.5]),
        metrics.precision_at_thresholds(labels, predictions, [0.5]),
        metrics.sensitivity_at_specificity(labels, predictions, 0.5),
    ):
        with pytest.raises(
            ValueError, match=r"`predictions` must be probabilities.*total weight of 1\..*torch\.sigmoid"
        ):
            metric.compute()
    assert metrics.auc(labels, predictions, weights=torch.tensor([1, 0, 1])).compute().item() == 1.0


@pytest.mark.parametrize(
    "function",
    [
        metrics.auc,
        lambda y, p: metrics.auc(y, p, curve="PR"),
        lambda y, p: metrics.auc(y, p, curve="PR", summation_method="majoring", thresholds=[0.5]),
        lambda y, p: metrics.precision_at_thresholds(y, p, [0.5]),
        lambda y, p: metrics.true_negatives_at_thresholds(y, p, [0.5]),
        lambda y, p: metrics.sensitivity_at_specificity(y, p, 0.5),
        lambda y, p: metrics.specificity_at_sensitivity(y, p, 0.5),
    ],
)
def test_nan_predictions_give_nan(function: Callable[[torch.Tensor, torch.Tensor], Metric]) -> None:
    value = function(torch.tensor([0, 1, 1]), torch.tensor([0.3, math.nan, 0.6])).compute()
    assert bool(value.isnan().all())


def test_thresholds_keep_the_order_they_came_in() -> None:
    labels, predictions = torch.tensor([1, 1, 1, 1]), torch.tensor([0.1, 0.4, 0.6, 0.9])
    metric = metrics.true_positives_at_thresholds(labels, predictions, [0.8, 0.0, 0.5, 0.5])
    assert metric.compute().tolist() == [1, 4, 2, 2]


def test_rounding_does_not_decide_what_keeps_a_rate() -> None:
    # Three weights of 0.1 out of ten are a specificity of 0.7 whatever the order of the sum.
    labels = torch.zeros(10)
    predictions = torch.tensor([0.9] * 3 + [0.1] * 7)
    for order in (torch.arange(10), torch.arange(10).flip(0)):
        metric = metrics.sensitivity_at_specificity(
            torch.cat([labels[order], torch.ones(1)]),
            torch.cat([predictions[order], torch.tensor([0.5])]),
            specificity=0.7,
            weights=0.1,
        )
        assert metric.compute().item() == 1.0


@pytest.mark.parametrize("thresholds", [[], [0.5, 1.5], [-0.1], [math.nan]])
def test_thresholds_outside_the_probabilities(thresholds: list[float]) -> None:
    with pytest.raises(ValueError, match=r"`thresholds` must be one or more numbers between 0 and 1\. Received: \["):
        metrics.recall_at_thresholds(torch.zeros(2), torch.zeros(2), thresholds)


def test_arguments_out_of_range() -> None:
    labels, predictions = torch.zeros(2), torch.zeros(2)
    with pytest.raises(ValueError, match=r"`specificity` must lie between 0 and 1\. Received: specificity=1\.5"):
        metrics.sensitivity_at_specificity(labels, predictions, 1.5)
    with pytest.raises(ValueError, match=r"`sensitivity` must lie between 0 and 1\. Received: sensitivity=-1"):
        metrics.specificity_at_sensitivity(labels, predictions, -1)
    with pytest.raises(ValueError, match=r"`num_thresholds` must be at least 1\. Received: num_thresholds=0"):
        metrics.sensitivity_at_specificity(labels, predictions, 0.5, num_thresholds=0)
