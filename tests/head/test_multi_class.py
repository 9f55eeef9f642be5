"""Three or more classes."""

import pytest
import torch

from tests.head.cases import strings_of
from torchestimator.head import MultiClassHead

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])


def test_loss_is_tensorflows():
    assert MultiClassHead(3).loss(torch.tensor([0, 2]), LOGITS).item() == pytest.approx(1.4795253)
    assert MultiClassHead(3).loss(torch.tensor([[0], [2]], dtype=torch.int32), LOGITS).item() == pytest.approx(
        1.4795253
    )


def test_predictions():
    predictions = MultiClassHead(3, label_vocabulary=["a", "b", "c"]).predictions(LOGITS)
    assert list(predictions) == ["logits", "probabilities", "class_ids", "classes", "all_class_ids", "all_classes"]
    assert predictions["class_ids"].tolist() == [[2], [2]]
    assert strings_of(predictions["classes"]) == [["c"], ["c"]]
    assert strings_of(predictions["all_classes"]) == [["a", "b", "c"]] * 2
    assert predictions["all_class_ids"].dtype == torch.int32
    torch.testing.assert_close(predictions["probabilities"], LOGITS.softmax(-1))


def test_metrics_and_signatures():
    head = MultiClassHead(3, name="hd")
    assert list(head.metrics()) == ["average_loss/hd", "accuracy/hd"]
    spec = head.create_estimator_spec({}, "infer", LOGITS)
    assert set(spec.export_outputs) == {"serving_default", "classification", "predict"}


def test_a_loss_of_ones_own_sees_ids():
    def loss_fn(labels, logits):
        return logits.gather(-1, labels)

    head = MultiClassHead(3, label_vocabulary=["a", "b", "c"], loss_fn=loss_fn)
    assert head.loss(["b", "c"], LOGITS).item() == pytest.approx(1.5)


@pytest.mark.parametrize("n_classes", [2, 1, None, 3.0])
def test_two_classes_have_another_head(n_classes):
    with pytest.raises(ValueError, match=r"`n_classes` must be an integer above 2.*BinaryClassHead"):
        MultiClassHead(n_classes)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 3], ValueError, r"between 0 and 2.*Received: 3 \(row 1\) of 2\."),
        ([1, 3], ValueError, "labels - 1"),
        ([0.0, 1.0], TypeError, r"integers.*labels\.long\(\)"),
        ([[0, 0, 1], [1, 0, 0]], ValueError, r"labels\.argmax\(-1\)"),
        ([0, 1, 2], ValueError, r"fit the logits \[2, 3\]: shape \[2, 1\] or \[2\]. Received: shape \[3\]"),
        (None, ValueError, "`labels` are needed"),
        ({"kind": [0, 1]}, TypeError, r"\['kind'\]"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        MultiClassHead(3).loss(labels, LOGITS)


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [
        (torch.zeros(2, 4), ValueError, r"\[batch, \.\.\., 3\].*Received: shape \[2, 4\]"),
        (torch.zeros(3), ValueError, "logits_dimension"),
        (torch.zeros(2, 3, dtype=torch.int64), TypeError, "int64"),
        ([[1.0, 2.0, 3.0]], TypeError, "list"),
    ],
)
def test_bad_logits(logits, error, message):
    with pytest.raises(error, match=message):
        MultiClassHead(3).loss([0, 1], logits)


def test_half_precision_is_widened():
    loss = MultiClassHead(3).loss(torch.tensor([0, 2]), LOGITS.to(torch.bfloat16))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(1.4795253)
    assert MultiClassHead(3).predictions(LOGITS.double())["probabilities"].dtype == torch.float64
