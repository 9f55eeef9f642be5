"""Two classes."""

import pytest
import torch

from tests.head.cases import strings_of, values_of, words
from torchestimator import export
from torchestimator.head import BinaryClassHead

LOGITS = torch.tensor([[0.2], [-1.0], [3.0]])
LABELS = torch.tensor([1, 0, 1])
WEIGHTS = torch.tensor([1.0, 2.0, 0.0])


def test_losses_are_tensorflows():
    features = {"w": WEIGHTS}
    assert BinaryClassHead().loss(LABELS, LOGITS).item() == pytest.approx(0.3199960)
    summed = BinaryClassHead(weight_column="w", loss_reduction="sum")
    assert summed.loss(LABELS, LOGITS, features).item() == pytest.approx(1.2246623)
    # The sum over the number of examples, and not over the sum of the weights.
    for reduction in ("sum_over_batch_size", "auto"):
        meaned = BinaryClassHead(weight_column="w", loss_reduction=reduction)
        assert meaned.loss(LABELS, LOGITS, features).item() == pytest.approx(1.2246623 / 3)


def test_average_loss_divides_by_the_weights():
    head = BinaryClassHead(weight_column="w")
    values = values_of(head.update_metrics(head.metrics(), {"w": WEIGHTS}, LOGITS, LABELS))
    assert values["average_loss"] == pytest.approx(1.2246623 / 3)
    one = BinaryClassHead(weight_column="w")
    values = values_of(one.update_metrics(one.metrics(), {"w": torch.tensor([4.0, 0, 0])}, LOGITS, LABELS))
    assert values["average_loss"] == pytest.approx(0.5981389)


def test_predictions():
    predictions = BinaryClassHead().predictions(torch.tensor([[0.0], [1.0]]))
    assert list(predictions) == [
        *("logits", "logistic", "probabilities", "class_ids", "classes", "all_class_ids", "all_classes"),
    ]
    # A logit of exactly 0 is class 0.
    assert predictions["class_ids"].tolist() == [[0], [1]]
    assert predictions["class_ids"].dtype == torch.int64
    assert predictions["all_class_ids"].dtype == torch.int32
    assert predictions["all_class_ids"].tolist() == [[0, 1], [0, 1]]
    assert strings_of(predictions["classes"]) == [["0"], ["1"]]
    assert strings_of(predictions["all_classes"]) == [["0", "1"], ["0", "1"]]
    torch.testing.assert_close(predictions["probabilities"].sum(-1), torch.ones(2))
    torch.testing.assert_close(predictions["probabilities"][:, 1:], predictions["logistic"])


def test_names_go_in_and_come_out():
    head = BinaryClassHead(label_vocabulary=["no", "yes"])
    loss = head.loss(words(["yes", "no", "yes"]), LOGITS)
    assert loss.item() == pytest.approx(0.3199960)
    assert head.loss(["yes", "no", "yes"], LOGITS).item() == loss.item()
    assert strings_of(head.predictions(LOGITS, ["classes"])["classes"]) == [["yes"], ["no"], ["yes"]]


def test_soft_labels_are_allowed():
    soft = BinaryClassHead().loss(torch.tensor([0.5, 0.5, 0.5]), LOGITS)
    hard = [BinaryClassHead().loss(torch.full((3,), label), LOGITS) for label in (0, 1)]
    torch.testing.assert_close(soft, (hard[0] + hard[1]) / 2)


def test_metric_names_end_with_that_of_the_head():
    head = BinaryClassHead(thresholds=[0.25, 0.5], name="hd")
    assert list(head.metrics(regularization_losses=[torch.tensor(1.0)])) == [
        *("average_loss/hd", "accuracy/hd", "precision/hd", "recall/hd", "prediction/mean/hd", "label/mean/hd"),
        *("accuracy_baseline/hd", "auc/hd", "auc_precision_recall/hd"),
        *(f"{metric}/positive_threshold_0.25/hd" for metric in ("accuracy", "precision", "recall")),
        *(f"{metric}/positive_threshold_0.5/hd" for metric in ("accuracy", "precision", "recall")),
        "regularization_loss/hd",
    ]


def test_the_baseline_is_the_more_frequent_class():
    head = BinaryClassHead()
    for labels, expected in (([1, 1, 0], 2 / 3), ([0, 0, 1], 2 / 3), ([0, 0, 0], 1.0)):
        found = head.update_metrics(head.metrics(), {}, LOGITS, torch.tensor(labels))
        assert values_of(found)["accuracy_baseline"] == pytest.approx(expected)


def test_areas_are_tensorflows():
    labels = torch.tensor([0, 1, 1, 0, 1, 0, 1, 1])
    logits = torch.logit(torch.tensor([[0.1], [0.4], [0.35], [0.8], [0.9], [0.2], [0.6], [0.5]]))
    for weights, roc, pr in ((None, 0.733333, 0.780278), ([1, 2, 1, 1, 0.5, 1, 3, 1], 0.688889, 0.768720)):
        head = BinaryClassHead(weight_column=None if weights is None else "w")
        features = {} if weights is None else {"w": torch.tensor(weights)}
        values = values_of(head.update_metrics(head.metrics(), features, logits, labels))
        assert values["auc"] == pytest.approx(roc, abs=1e-5)
        assert values["auc_precision_recall"] == pytest.approx(pr, abs=1e-5)


def test_signatures():
    spec = BinaryClassHead().create_estimator_spec({}, "infer", LOGITS)
    assert set(spec.export_outputs) == {"serving_default", "classification", "regression", "predict"}
    default = spec.export_outputs["serving_default"]
    assert isinstance(default, export.ClassificationOutput)
    assert default.scores is spec.predictions["probabilities"]
    assert strings_of(default.classes)[0] == ["0", "1"]
    assert spec.export_outputs["regression"].value is spec.predictions["logistic"]
    assert set(spec.export_outputs["predict"].outputs) == set(spec.predictions)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2], r"between 0 and 1, for 2 classes\. Received: 2 \(row 2\) of 3"),
        ([1, 2, 2], r"labels - 1"),
        ([-1.0, 1.0, 1.0], r"\(labels \+ 1\) / 2"),
        ([0.0, 1.0, float("nan")], r"nan \(row 2\)"),
        (["yes", "no", "no"], r"a string \(row 0\).*label_vocabulary"),
        ([[1, 0], [0, 1], [1, 1]], r"1 value per example.*MultiClassHead"),
    ],
)
def test_bad_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        BinaryClassHead().loss(labels, LOGITS)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"thresholds": [0.5, 1.0]}, ValueError, r"`thresholds` must lie between 0 and 1.*\[1\.0\]"),
        ({"label_vocabulary": ["a", "b", "c"]}, ValueError, "each of the 2 classes"),
        ({"loss_reduction": "none"}, ValueError, "`loss_reduction` must be one of"),
        ({"weight_column": 3}, TypeError, "`weight_column` must be the name"),
        ({"name": 3}, TypeError, "`name` of a head"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        BinaryClassHead(**arguments)
