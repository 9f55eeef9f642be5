"""Loss functions of one's own."""

import functools

import pytest
import torch

from torchestimator.head import BinaryClassHead, RegressionHead

LOGITS = torch.tensor([[0.5], [1.0], [2.0]])
LABELS = torch.tensor([0, 1, 1])


def absolute(labels, logits, power=1):
    return (labels - logits).abs() ** power


def test_it_replaces_the_loss():
    def loss_fn(labels, logits):
        return absolute(labels, logits)

    assert BinaryClassHead(loss_fn=loss_fn).loss(LABELS, LOGITS).item() == pytest.approx((0.5 + 0 + 1) / 3)
    weighted = RegressionHead(loss_fn=loss_fn, weight_column="w", loss_reduction="sum")
    assert weighted.loss(LABELS, LOGITS, {"w": torch.tensor([2.0, 1, 1])}).item() == pytest.approx(2.0)


def test_it_may_see_features_and_reduction():
    def loss_fn(labels, logits, features, loss_reduction):
        return absolute(labels, logits) * features["scale"] * len(loss_reduction)

    head = RegressionHead(loss_fn=loss_fn, loss_reduction="sum")
    assert head.loss(LABELS, LOGITS, {"scale": 10}).item() == pytest.approx(45.0)


@pytest.mark.parametrize(
    "loss_fn", [lambda logits: logits, lambda labels, logits, other: logits, functools.partial(absolute, power=2)]
)
def test_its_arguments_have_names(loss_fn):
    with pytest.raises(ValueError, match="`loss_fn` must have arguments called `labels` and `logits`"):
        RegressionHead(loss_fn=loss_fn)
    with pytest.raises(TypeError, match="`loss_fn` must be a function"):
        RegressionHead(loss_fn="mse")


@pytest.mark.parametrize(
    ("loss_fn", "received"),
    [
        (lambda labels, logits: (labels - logits).mean(), r"\[\]"),
        (lambda labels, logits: (labels - logits)[:, 0], r"\[3\]"),
        (lambda labels, logits: 1.0, "float"),
    ],
)
def test_it_gives_a_loss_for_each_example(loss_fn, received):
    with pytest.raises(ValueError, match=rf"tensor of shape \[3, 1\].*Received: {received}\..*reduction=\"none\""):
        RegressionHead(loss_fn=loss_fn).loss(LABELS, LOGITS)


def test_losses_that_are_counts_become_numbers():
    head = BinaryClassHead(loss_fn=lambda labels, logits: (labels != (logits > 0.7)).long())
    assert head.loss(LABELS, LOGITS).item() == 0
