"""Counts."""

import pytest
import torch

from torchestimator.head import PoissonRegressionHead

LOGITS = torch.tensor([[0.2], [-1.0], [3.0]])
LABELS = torch.tensor([1, 0, 5])


def test_losses_are_tensorflows():
    assert PoissonRegressionHead().loss(LABELS, LOGITS).item() == pytest.approx(3.7485554)
    assert PoissonRegressionHead(compute_full_loss=False).loss(LABELS, LOGITS).item() == pytest.approx(2.1582730)


def test_predictions_are_rates():
    predictions = PoissonRegressionHead().predictions(LOGITS)
    torch.testing.assert_close(predictions["predictions"], LOGITS.exp())
    assert list(predictions) == ["predictions", "logits"]


def test_labels_are_counts():
    with pytest.raises(ValueError, match=r"counts, 0 or more. Received: -3 \(row 1\) of 3"):
        PoissonRegressionHead().loss([1, -3, 5], LOGITS)
