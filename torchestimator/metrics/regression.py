"""Errors between real-valued labels and predictions, computed in the dtype of the sums whatever that of the inputs."""

from torch import Tensor

from torchestimator.metrics.aggregation import Mean
from torchestimator.metrics.alignment import TensorLike, align_pair
from torchestimator.metrics.metric import accumulator_dtype, divide


class RootMean(Mean):
    """Square root of a weighted mean."""

    def compute(self) -> Tensor:
        """The root, []."""
        return super().compute().sqrt()


class MeanDistance(Mean):
    """1 minus a weighted mean of similarities; 1 when there was nothing to average."""

    def compute(self) -> Tensor:
        """The distance, []."""
        return 1 - super().compute()


def mean_absolute_error(labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None) -> Mean:
    """Weighted mean of `|labels - predictions|` (`tf.compat.v1.metrics.mean_absolute_error`).

    Args:
        labels: [...].
        predictions: [...]; a trailing 1 in either is dropped.
        weights: a number, [batch], [batch, 1] or the shape of `labels`.

    Returns:
        A metric with a value of shape [].

    Raises:
        ValueError: shapes that do not fit.
    """
    return Mean().update(_difference(labels, predictions).abs(), weights)


def mean_squared_error(labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None) -> Mean:
    """Weighted mean of `(labels - predictions)**2` (`tf.compat.v1.metrics.mean_squared_error`).

    Args, Returns, Raises: as `mean_absolute_error`.
    """
    return Mean().update(_difference(labels, predictions).square(), weights)


def root_mean_squared_error(labels: TensorLike, predictions: TensorLike, weights: TensorLike | None = None) -> RootMean:
    """Square root of `mean_squared_error` (`tf.compat.v1.metrics.root_mean_squared_error`).

    Args, Returns, Raises: as `mean_absolute_error`.
    """
    return RootMean().update(_difference(labels, predictions).square(), weights)


def mean_relative_error(
    labels: TensorLike, predictions: TensorLike, normalizer: TensorLike, weights: TensorLike | None = None
) -> Mean:
    """Weighted mean of `|labels - predictions| / normalizer` (`tf.compat.v1.metrics.mean_relative_error`).

    Args:
        labels: [...].
        predictions: [...]; a trailing 1 in any of the three is dropped.
        normalizer: [...], often `labels.abs()`; where it is 0, the error counts as 0.
        weights: a number, [batch], [batch, 1] or the shape of `labels`.

    Returns:
        A metric with a value of shape [].

    Raises:
        ValueError: shapes that do not fit.
    """
    error = _difference(labels, predictions).abs()
    normalizer, error = align_pair(normalizer, error, ("normalizer", "predictions"))
    return Mean().update(divide(error, normalizer), weights)


def mean_cosine_distance(
    labels: TensorLike, predictions: TensorLike, dim: int, weights: TensorLike | None = None
) -> MeanDistance:
    """1 minus the weighted mean of the cosines between vectors (`tf.compat.v1.metrics.mean_cosine_distance`).

    Both inputs must already have length 1 along `dim` (`torch.nn.functional.normalize`); like TensorFlow's, this
    takes their inner product for the cosine.

    Args:
        labels: [..., features].
        predictions: [..., features].
        dim: the dimension of the vectors.
        weights: a number, [batch], [batch, 1] or the shape of `labels` with 1 in the place of `dim`.

    Returns:
        A metric with a value of shape [].

    Raises:
        ValueError: shapes that do not fit.
    """
    labels, predictions = align_pair(labels, predictions)
    dtype = accumulator_dtype(labels.device)
    cosines = (labels.to(dtype) * predictions.to(dtype)).sum(dim, keepdim=True)
    return MeanDistance().update(cosines, weights)


def _difference(labels: TensorLike, predictions: TensorLike) -> Tensor:
    """labels - predictions, [...]; converted first, so that neither uint8 wraps around nor bfloat16 rounds."""
    labels, predictions = align_pair(labels, predictions)
    dtype = accumulator_dtype(labels.device)
    return labels.to(dtype) - predictions.to(dtype)
