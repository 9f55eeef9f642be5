"""Classes that do not exclude each other."""

import pytest
import torch

from tests.head.cases import strings_of, values_of, words
from torchestimator.head import MultiLabelHead

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0]])


def sparse(indices, values, size):
    return torch.sparse_coo_tensor(indices, values, size, check_invariants=True)


INDICATOR = torch.tensor([[0, 1, 1], [1, 0, 0]])
SPARSE = sparse([[0, 0, 1], [0, 1, 0]], [1, 2, 0], (2, 2))


def test_loss_is_tensorflows():
    assert MultiLabelHead(3).loss(INDICATOR, LOGITS).item() == pytest.approx(0.6980556)


def test_ids_of_each_example_are_labels_too():
    head = MultiLabelHead(3)
    expected = head.loss(INDICATOR, LOGITS)
    assert head.loss(SPARSE, LOGITS) == expected
    jagged = torch.nested.nested_tensor([torch.tensor([1, 2]), torch.tensor([0])], layout=torch.jagged)
    assert head.loss(jagged, LOGITS) == expected
    twice = sparse([[0, 0, 0, 1], [0, 1, 1, 0]], [1, 2, 2, 0], (2, 2))
    assert head.loss(twice, LOGITS) == expected


def test_names_of_each_example_are_labels_too():
    named = MultiLabelHead(3, label_vocabulary=["x", "y", "z"])
    values = words(["y", "z", "x"])
    labels = sparse(torch.tensor([[0, 0, 1], [0, 1, 0]]), values, (2, 2))
    assert named.loss(labels, LOGITS).item() == pytest.approx(0.6980556)
    unknown = sparse([[0, 1], [0, 0]], words(["y", "q"]), (2, 2))
    with pytest.raises(ValueError, match=r"\['x', 'y', 'z'\].*none of them"):
        named.loss(unknown, LOGITS)


def test_predictions_name_all_classes():
    predictions = MultiLabelHead(3).predictions(LOGITS)
    assert list(predictions) == ["logits", "probabilities", "classes"]
    assert strings_of(predictions["classes"]) == [["0", "1", "2"]] * 2
    spec = MultiLabelHead(3).create_estimator_spec({}, "infer", LOGITS)
    assert set(spec.export_outputs) == {"serving_default", "classification", "predict"}


def test_metrics_of_single_classes():
    keys = ["average_loss", "auc", "auc_precision_recall"]
    head = MultiLabelHead(3, classes_for_class_based_metrics=[0, 2])
    found = list(head.metrics())
    assert found[:3] == keys
    assert found[3:] == [
        *("probability_mean/class0", "auc/class0", "auc_precision_recall/class0"),
        *("probability_mean/class2", "auc/class2", "auc_precision_recall/class2"),
    ]
    values = values_of(head.update_metrics(head.metrics(), {}, LOGITS, INDICATOR))
    assert values["probability_mean/class0"] == pytest.approx(LOGITS[:, 0].sigmoid().mean().item())
    named = MultiLabelHead(3, label_vocabulary=["x", "y", "z"], classes_for_class_based_metrics=["z"], name="hd")
    assert list(named.metrics())[3:] == ["probability_mean/z/hd", "auc/z/hd", "auc_precision_recall/z/hd"]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (torch.tensor([[0, 1, 2], [0, 0, 0]]), ValueError, r"indicator.*2 \(row 0\) of 6"),
        (torch.tensor([[1], [2]]), ValueError, "3 values per example.*sparse_coo"),
        (sparse([[0], [0]], [5], (2, 2)), ValueError, r"between 0 and 2.*5 \(row 0\)"),
        (sparse([[0], [0]], [0.5], (2, 2)), TypeError, "integers"),
        (sparse([[0], [0]], [1], (3, 2)), ValueError, r"\[2, classes of an example\]"),
    ],
)
def test_bad_labels(labels, error, message):
    with pytest.raises(error, match=message):
        MultiLabelHead(3).loss(labels, LOGITS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_classes": 1}, "`n_classes` must be an integer, 2 or more"),
        ({"n_classes": 3, "classes_for_class_based_metrics": [5]}, "from 0 to 2. Received: 5"),
        ({"n_classes": 3, "classes_for_class_based_metrics": ["a"]}, "Received: 'a'"),
        ({"n_classes": 2, "label_vocabulary": ["a", "a"]}, r"more than once: \['a'\]"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiLabelHead(**arguments)
