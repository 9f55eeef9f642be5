"""Numbers."""

import pytest
import torch

from tests.head.cases import values_of
from torchestimator import export
from torchestimator.head import RegressionHead

LOGITS = torch.tensor([[0.2], [-1.0], [3.0]])
LABELS = torch.tensor([1, 0, 1])


def test_loss_is_the_square_without_a_half():
    head = RegressionHead(weight_column="w")
    assert head.loss(LABELS, LOGITS, {"w": torch.tensor([1.0, 2.0, 0.0])}).item() == pytest.approx(0.88)


def test_each_number_may_have_its_weight():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    labels = torch.zeros(2, 2)
    weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    head = RegressionHead(2, weight_column="w")
    assert head.loss(labels, logits, {"w": weights}).item() == pytest.approx((1 + 16) / 4)
    values = values_of(head.update_metrics(head.metrics(), {"w": weights}, logits, labels))
    assert values["average_loss"] == pytest.approx(8.5)
    assert values["prediction/mean"] == pytest.approx(2.5)


def test_predictions_have_logits_only_behind_a_link():
    assert list(RegressionHead().predictions(LOGITS)) == ["predictions"]
    linked = RegressionHead(inverse_link_fn=torch.exp).predictions(LOGITS)
    assert list(linked) == ["predictions", "logits"]
    torch.testing.assert_close(linked["predictions"], LOGITS.exp())


def test_metrics_and_signatures():
    head = RegressionHead(name="hd")
    assert list(head.metrics()) == ["average_loss/hd", "prediction/mean/hd", "label/mean/hd"]
    spec = head.create_estimator_spec({}, "infer", LOGITS)
    assert set(spec.export_outputs) == {"serving_default", "regression", "predict"}
    assert isinstance(spec.export_outputs["serving_default"], export.RegressionOutput)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"label_dimension": 0}, ValueError, "`label_dimension` must be a positive integer"),
        ({"inverse_link_fn": 1}, TypeError, "`inverse_link_fn` must be a function"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        RegressionHead(**arguments)


def test_bad_labels():
    with pytest.raises(ValueError, match=r"2 values per example.*label_dimension=2"):
        RegressionHead(2).loss(torch.zeros(3, 1), torch.zeros(3, 2))
    with pytest.raises(TypeError, match=r"labels\.to_dense\(\)"):
        RegressionHead().loss(torch.zeros(3, 1).to_sparse(), LOGITS)
