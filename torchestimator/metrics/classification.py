"""Accuracy, precision, recall and the four counts of a two-class decision.

`labels` count as positive where they are not 0. `predictions` count as positive where they exceed `threshold`
(strictly, as in Keras), so classes 0 and 1, booleans and probabilities all mean what they say;
`tf.compat.v1.metrics` instead takes every prediction but 0 for positive.
"""

import torch
from torch import Tensor

from torchestimator.metrics.aggregation import Mean, Ratio, Sum
from torchestimator.metrics.alignment import TensorLike, align_pair


def accuracy(labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None) -> Mean:
    """Weighted share of predictions that equal their label (`tf.compat.v1.metrics.accuracy`).

    Predictions of another dtype are first converted to that of the labels, as in TensorFlow: a probability against
    an integer label is truncated to 0. For probabilities take `binary_accuracy`, for scores of classes their
    `argmax(-1)`.

    Args:
        labels: [...], class ids.
        predictions: [...], class ids; a trailing 1 in either is dropped.
        weights: a number, [batch], [batch, 1] or the shape of `labels`.

    Returns:
        A metric with a value of shape [].

    Raises:
        ValueError: shapes that do not fit.
    """
    labels, predictions = align_pair(labels, predictions)
    if predictions.dtype != labels.dtype:
        predictions = predictions.to(labels.dtype)
    return Mean().update(labels == predictions, weights)


def binary_accuracy(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Mean:
    """Weighted share of two-class decisions that are right (`tf.keras.metrics.BinaryAccuracy`).

    Args:
        labels: [...], 0 or 1; other values are never matched.
        predictions: [...], probabilities of class 1; a trailing 1 in either is dropped.
        weights: a number, [batch], [batch, 1] or the shape of `labels`.
        threshold: a prediction strictly above it decides for class 1.

    Returns:
        A metric with a value of shape [].

    Raises:
        ValueError: shapes that do not fit, or a threshold outside [0, 1].
    """
    labels, predictions = align_pair(labels, predictions)
    return Mean().update(labels == _is_positive(predictions, threshold), weights)


def precision(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Ratio:
    """Weighted share of positive predictions whose label is positive (`tf.keras.metrics.Precision`).

    Args:
        labels: [...], positive where not 0.
        predictions: [...], positive where above `threshold`; a trailing 1 in either is dropped.
        weights: a number, [batch], [batch, 1] or the shape of `labels`.
        threshold: between 0 and 1.

    Returns:
        A metric with a value of shape []; 0 when nothing was predicted positive.

    Raises:
        ValueError: shapes that do not fit, or a threshold outside [0, 1].
    """
    relevant, predicted = _decisions(labels, predictions, threshold)
    return Ratio().update(relevant & predicted, predicted, weights)


def recall(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Ratio:
    """Weighted share of positive labels that were predicted positive (`tf.keras.metrics.Recall`).

    Args, Raises: as `precision`.

    Returns:
        A metric with a value of shape []; 0 when no label is positive.
    """
    relevant, predicted = _decisions(labels, predictions, threshold)
    return Ratio().update(relevant & predicted, relevant, weights)


def true_positives(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Sum:
    """Total weight of positive labels predicted positive (`tf.keras.metrics.TruePositives`).

    Args, Raises: as `precision`.

    Returns:
        A metric with a value of shape [].
    """
    relevant, predicted = _decisions(labels, predictions, threshold)
    return Sum().update(relevant & predicted, weights)


def false_positives(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Sum:
    """Total weight of negative labels predicted positive (`tf.keras.metrics.FalsePositives`).

    Args, Raises: as `precision`.

    Returns:
        A metric with a value of shape [].
    """
    relevant, predicted = _decisions(labels, predictions, threshold)
    return Sum().update(~relevant & predicted, weights)


def true_negatives(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Sum:
    """Total weight of negative labels predicted negative (`tf.keras.metrics.TrueNegatives`).

    Args, Raises: as `precision`.

    Returns:
        A metric with a value of shape [].
    """
    relevant, predicted = _decisions(labels, predictions, threshold)
    return Sum().update(~(relevant | predicted), weights)


def false_negatives(
    labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None, threshold: float = 0.5
) -> Sum:
    """Total weight of positive labels predicted negative (`tf.keras.metrics.FalseNegatives`).

    Args, Raises: as `precision`.

    Returns:
        A metric with a value of shape [].
    """
    relevant, predicted = _decisions(labels, predictions, threshold)
    return Sum().update(relevant & ~predicted, weights)


def _decisions(labels: TensorLike, predictions: TensorLike, threshold: float) -> tuple[Tensor, Tensor]:
    """Whether each label and each prediction is positive, both bool [...]."""
    labels, predictions = align_pair(labels, predictions)
    return labels.to(torch.bool), _is_positive(predictions, threshold)


def _is_positive(predictions: Tensor, threshold: float) -> Tensor:
    """Whether each prediction lies above the threshold, compared in float32 as TensorFlow does."""
    if not 0 <= threshold <= 1:
        raise ValueError(f"`threshold` must lie between 0 and 1. Received: threshold={threshold}.")
    return predictions.to(torch.float32) > threshold
