"""Metrics at thresholds."""

import pytest
import torch

from tests.head.cases import values_of
from torchestimator import metrics
from torchestimator.head.threshold_metrics import areas_under_curves, at_thresholds, check_thresholds

LABELS = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
PROBABILITIES = torch.tensor([[0.5], [0.5], [0.7], [0.2]])


def test_a_probability_must_exceed_the_threshold():
    values = values_of(at_thresholds([0.5, 0.1], LABELS, PROBABILITIES, None))
    assert values == pytest.approx(
        {
            "accuracy/positive_threshold_0.5": 0.75,
            "precision/positive_threshold_0.5": 1.0,
            "recall/positive_threshold_0.5": 0.5,
            "accuracy/positive_threshold_0.1": 0.5,
            "precision/positive_threshold_0.1": 0.5,
            "recall/positive_threshold_0.1": 1.0,
        }
    )


def test_both_areas_come_from_one_count():
    weights = torch.tensor([[1.0], [2.0], [0.5], [1.0]])
    found = areas_under_curves(LABELS, PROBABILITIES, weights, "x")
    assert values_of(found) == values_of(
        {
            "auc/x": metrics.auc(LABELS, PROBABILITIES, weights),
            "auc_precision_recall/x": metrics.auc(LABELS, PROBABILITIES, weights, curve="PR"),
        }
    )
    # What one of them sees later is not seen by the other.
    before = found["auc/x"].compute()
    found["auc_precision_recall/x"].update(LABELS, 1 - PROBABILITIES)
    assert found["auc/x"].compute() == before


def test_thresholds_lie_inside():
    assert check_thresholds(None) == ()
    assert check_thresholds([0.2]) == (0.2,)
    with pytest.raises(ValueError, match=r"Received: \[0, 1.5\]"):
        check_thresholds([0, 0.5, 1.5])
