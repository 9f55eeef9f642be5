import pytest
import torch
from sklearn import metrics as sklearn_metrics

from torchestimator import metrics


def make_classes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(0, 5, (300,), generator=generator)
    predictions = torch.where(torch.rand(300, generator=generator) < 0.6, labels, labels.roll(1))
    return labels, predictions, torch.rand(300, generator=generator)


@pytest.mark.parametrize("weighted", [False, True])
def test_scikit_learn_agrees(weighted: bool) -> None:
    labels, predictions, weights = make_classes()
    given, sample_weight = (weights, weights.numpy()) if weighted else (None, None)
    matrix = metrics.confusion_matrix(labels, predictions, 5, given).compute()
    expected = sklearn_metrics.confusion_matrix(labels, predictions, sample_weight=sample_weight)
    torch.testing.assert_close(matrix, torch.from_numpy(expected).to(matrix.dtype), rtol=1e-6, atol=0)
    iou = metrics.mean_iou(labels, predictions, 5, given).compute().item()
    assert iou == pytest.approx(
        sklearn_metrics.jaccard_score(labels, predictions, average="macro", sample_weight=sample_weight)
    )
    accuracy = metrics.mean_per_class_accuracy(labels, predictions, 5, given).compute().item()
    assert accuracy == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(labels, predictions, sample_weight=sample_weight)
    )


def test_classes_that_do_not_occur() -> None:
    labels, predictions = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    # Left out of the mean by one metric, counted as 0 by the other, as in TensorFlow.
    assert metrics.mean_iou(labels, predictions, 4).compute().item() == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert metrics.mean_per_class_accuracy(labels, predictions, 4).compute().item() == pytest.approx((1 / 2 + 1) / 4)


def test_nothing_is_zero() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert metrics.mean_iou(nothing, nothing, 3).compute().item() == 0.0
    assert metrics.mean_per_class_accuracy(nothing, nothing, 3).compute().item() == 0.0


@pytest.mark.parametrize(("label", "prediction"), [(3, 0), (-1, 0), (0, 3), (0, -1), (255, 255), (-100, 7)])
def test_ids_outside_are_reported_once_computed(label: int, prediction: int) -> None:
    labels, predictions = torch.tensor([0, label]), torch.tensor([0, prediction])
    metric = metrics.mean_iou(labels, predictions, 3, weights=torch.tensor([1.0, 2.5]))
    with pytest.raises(
        ValueError, match=r"`labels` and `predictions`.*\[0, 3\).*total weight of 2\.5; is num_classes=3"
    ):
        metric.compute()
    # Weight 0 is how to ignore them.
    assert metrics.mean_iou(labels, predictions, 3, weights=torch.tensor([1, 0])).compute().item() == 1.0


def test_accuracy_takes_a_prediction_outside_for_wrong() -> None:
    labels = torch.tensor([0, 1])
    assert metrics.mean_per_class_accuracy(labels, torch.tensor([0, 7]), 2).compute().item() == 0.5
    assert metrics.mean_per_class_accuracy(labels, torch.tensor([0, -1]), 2).compute().item() == 0.5
    with pytest.raises(ValueError, match=r"`labels` must be class ids in \[0, 2\)"):
        metrics.mean_per_class_accuracy(torch.tensor([0, 2]), torch.tensor([0, 0]), 2).compute()


def test_images_of_classes() -> None:
    labels, predictions = torch.zeros(2, 4, 4, dtype=torch.uint8), torch.zeros(2, 4, 4, dtype=torch.int64)
    labels[1] = 1
    assert metrics.mean_iou(labels, predictions, 2).compute().item() == pytest.approx((1 / 2 + 0) / 2)
    # One weight per image.
    assert metrics.mean_iou(labels, predictions, 2, weights=torch.tensor([1.0, 0.0])).compute().item() == 1.0


def test_num_classes_below_one() -> None:
    ids = torch.zeros(1, dtype=torch.int64)
    for function in (metrics.confusion_matrix, metrics.mean_iou, metrics.mean_per_class_accuracy):
        with pytest.raises(ValueError, match=r"`num_classes` must be at least 1\. Received: num_classes=0"):
            function(ids, ids, 0)
