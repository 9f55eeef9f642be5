"""Metrics of several classes that need counts per class."""

from typing import Self

import torch
from torch import Tensor

from torchestimator.metrics.alignment import TensorLike, align_pair, align_weights
from torchestimator.metrics.metric import Metric, accumulator_dtype, divide
from torchestimator.tracing import is_eager


class ConfusionMatrix(Metric):
    """Weight of the examples by their class (row) and the predicted class (column).

    The matrix is kept with a border on each side that collects ids outside [0, num_classes). Reporting them as an
    error in `compute` costs nothing per batch, whereas a check in `update` would have to read the device. Examples
    of weight 0 may carry any id, such as -1 or 255 for "ignore".

    Args:
        num_classes: at least 1.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = _checked(num_classes)

    def update(self, labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None) -> Self:
        """Adds class ids labels [...] and predictions [...] with their weights."""
        labels, predictions = align_pair(labels, predictions)
        size = self.num_classes + 2
        cells = _bordered(labels, self.num_classes) * size + _bordered(predictions, self.num_classes)
        return self.accumulate(counts=_count(cells, size * size, labels, weights).reshape(size, size))

    def compute(self) -> Tensor:
        """The matrix, [classes, classes]."""
        counts = self.state["counts"]
        border = counts[[0, -1]].sum() + counts[1:-1, [0, -1]].sum()
        _require_none(border, "`labels` and `predictions`", self.num_classes)
        return counts[1:-1, 1:-1]


class MeanIoU(ConfusionMatrix):
    """Mean over the classes of intersection over union, from the confusion matrix."""

    def compute(self) -> Tensor:
        """The mean over the classes that occur among labels or predictions, []; 0 if none does."""
        matrix = super().compute()
        intersection = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - intersection
        return divide(divide(intersection, union).sum(), (union != 0).sum())


class MeanPerClassAccuracy(Metric):
    """Mean over the classes of the share of their examples that were predicted right.

    Args:
        num_classes: at least 1.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = _checked(num_classes)

    def update(self, labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None) -> Self:
        """Adds class ids labels [...] and predictions [...] with their weights."""
        labels, predictions = align_pair(labels, predictions)
        size = self.num_classes + 2
        is_right = predictions.reshape(-1).to(torch.int64) == labels.reshape(-1).to(torch.int64)
        cells = _bordered(labels, self.num_classes) + is_right * size
        return self.accumulate(counts=_count(cells, 2 * size, labels, weights).reshape(2, size))

    def compute(self) -> Tensor:
        """The mean over all classes, []; a class without examples counts as 0."""
        counts = self.state["counts"]
        _require_none(counts[:, [0, -1]].sum(), "`labels`", self.num_classes)
        wrong, right = counts[:, 1:-1]
        return divide(right, wrong + right).mean()


def confusion_matrix(
    labels: TensorLike, predictions: TensorLike, num_classes: int, weights: TensorLike | None = None
) -> ConfusionMatrix:
    """Weight of the examples by class and predicted class, [classes, classes]: rows are the labels.

    The streaming form of tf.math.confusion_matrix. The evaluation's result is an array; as a picture:
    `te.summary.confusion_matrix_image(counts)`.

    Args:
        labels: [...] class ids in [0, num_classes).
        predictions: [...] class ids in [0, num_classes).
        num_classes: how many classes there are.
        weights: by how much each example counts; None: 1.

    Raises:
        ValueError: shapes that do not fit, or `num_classes` below 1.
    """
    return ConfusionMatrix(num_classes).update(labels, predictions, weights)


def mean_iou(
    labels: TensorLike, predictions: TensorLike, num_classes: int, weights: TensorLike | None = None
) -> MeanIoU:
    """Mean intersection over union of the classes (`tf.compat.v1.metrics.mean_iou`), the measure of segmentation.

    For each class: weight of examples where label and prediction are the class, over those where either is;
    then the mean over the classes that occur.

    Args:
        labels: [...], class ids in [0, num_classes).
        predictions: [...], class ids in [0, num_classes); a trailing 1 in either is dropped.
        num_classes: at least 1; the state holds about num_classes**2 numbers.
        weights: a number, [batch], [batch, 1] or the shape of `labels`; weight 0 ignores an example, whatever its ids.

    Returns:
        A metric with a value of shape []. Its `compute` raises a ValueError after ids outside [0, num_classes).

    Raises:
        ValueError: shapes that do not fit, or `num_classes` below 1.
    """
    return MeanIoU(num_classes).update(labels, predictions, weights)


def mean_per_class_accuracy(
    labels: TensorLike, predictions: TensorLike, num_classes: int, weights: TensorLike | None = None
) -> MeanPerClassAccuracy:
    """Mean of the accuracies of the classes (`tf.compat.v1.metrics.mean_per_class_accuracy`).

    Args:
        labels: [...], class ids in [0, num_classes).
        predictions: [...], class ids, wrong where outside [0, num_classes); a trailing 1 in either is dropped.
        num_classes: at least 1; a class without examples counts as accuracy 0, as in TensorFlow.
        weights: a number, [batch], [batch, 1] or the shape of `labels`.

    Returns:
        A metric with a value of shape []. Its `compute` raises a ValueError after labels outside [0, num_classes).

    Raises:
        ValueError: shapes that do not fit, or `num_classes` below 1.
    """
    return MeanPerClassAccuracy(num_classes).update(labels, predictions, weights)


def _checked(num_classes: int) -> int:
    if num_classes < 1:
        raise ValueError(f"`num_classes` must be at least 1. Received: num_classes={num_classes}.")
    return num_classes


def _bordered(ids: Tensor, num_classes: int) -> Tensor:
    """Places of class ids [values] among num_classes + 2 places, of which the first and the last are for other ids."""
    return ids.reshape(-1).to(torch.int64).clamp(-1, num_classes) + 1


def _count(cells: Tensor, num_cells: int, labels: Tensor, weights: TensorLike | None) -> Tensor:
    """Weight in each cell, [num_cells], of values that fall in `cells` [values]."""
    dtype = accumulator_dtype(labels.device)
    if weights is None:
        weight = torch.ones(labels.numel(), dtype=dtype, device=labels.device)
    else:
        weight = align_weights(weights, labels).reshape(-1)
    return torch.zeros(num_cells, dtype=dtype, device=labels.device).index_add_(0, cells, weight)


def _require_none(outside: Tensor, arguments: str, num_classes: int) -> None:
    if is_eager(outside) and outside.item() != 0:
        raise ValueError(
            f"{arguments} must be class ids in [0, {num_classes}), or have the weight 0. "
            f"Received: other ids with a total weight of {outside.item():g}; is num_classes={num_classes} right?"
        )
