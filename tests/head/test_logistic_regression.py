"""Shares between 0 and 1."""

import pytest
import torch

from torchestimator.head import BinaryClassHead, LogisticRegressionHead

LOGITS = torch.tensor([[0.2], [-1.0], [3.0]])


def test_loss_is_that_of_soft_classes():
    labels = torch.tensor([0.2, 0.0, 0.9])
    assert LogisticRegressionHead().loss(labels, LOGITS) == BinaryClassHead().loss(labels, LOGITS)


def test_predictions_are_shares():
    predictions = LogisticRegressionHead().predictions(LOGITS)
    torch.testing.assert_close(predictions["predictions"], LOGITS.sigmoid())
    assert predictions["logits"] is LOGITS


def test_labels_are_shares():
    with pytest.raises(ValueError, match=r"between 0 and 1. Received: 1.5 \(row 0\), -1 \(row 2\) of 3"):
        LogisticRegressionHead().loss([1.5, 0.0, -1.0], LOGITS)
