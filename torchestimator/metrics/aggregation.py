"""Sums, means and ratios of sums: the states most metrics are made of."""

from typing import Self

import torch
from torch import Tensor

from torchestimator.metrics.alignment import TensorLike, align_weights, as_tensor
from torchestimator.metrics.metric import Metric, accumulator_dtype, divide


def weighted_sum(values: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of values, each times its weight, in the accumulator dtype.

    Args:
        values: [...], any dtype.
        weights: [...], from `align_weights`; None weighs every value 1.

    Returns:
        [].
    """
    if weights is None:
        return values.sum(dtype=accumulator_dtype(values.device))
    return (values * weights).sum()


class Sum(Metric):
    """Weighted sum of values."""

    def update(self, values: TensorLike, weights: TensorLike | None = None) -> Self:
        """Adds values [...] with their weights."""
        values = as_tensor(values)
        aligned = None if weights is None else align_weights(weights, values)
        return self.accumulate(total=weighted_sum(values, aligned))

    def compute(self) -> Tensor:
        """The sum, []."""
        return self.state["total"]


class Mean(Metric):
    """Weighted mean of values: `sum(weights * values) / sum(weights)`, 0 when there was nothing to average."""

    def update(self, values: TensorLike, weights: TensorLike | None = None) -> Self:
        """Adds values [...] with their weights."""
        values = as_tensor(values)
        if weights is None:
            dtype = accumulator_dtype(values.device)
            count = torch.full((), values.numel(), dtype=dtype, device=values.device)
            return self.accumulate(total=values.sum(dtype=dtype), count=count)
        aligned = align_weights(weights, values)
        return self.accumulate(total=weighted_sum(values, aligned), count=aligned.sum())

    def compute(self) -> Tensor:
        """The mean, []."""
        # A negative total weight gives 0, as in `tf.compat.v1.metrics.mean`.
        return divide(self.state["total"], self.state["count"].clamp(min=0))


class Ratio(Metric):
    """Sum of numerators over the sum of denominators, both weighted; precision and recall are such ratios.

    Args:
        empty: the value when the denominators sum to 0.
    """

    def __init__(self, empty: float = 0.0) -> None:
        super().__init__()
        self.empty = empty

    def update(self, numerators: TensorLike, denominators: TensorLike, weights: TensorLike | None = None) -> Self:
        """Adds numerators [...] and denominators [...] of the same shape with their common weights."""
        numerators, denominators = as_tensor(numerators), as_tensor(denominators)
        aligned = None if weights is None else align_weights(weights, denominators)
        return self.accumulate(
            numerator=weighted_sum(numerators, aligned), denominator=weighted_sum(denominators, aligned)
        )

    def compute(self) -> Tensor:
        """The ratio, []."""
        return divide(self.state["numerator"], self.state["denominator"], self.empty)


class ElementwiseMean(Metric):
    """Weighted mean of each element of tensors that keep one shape."""

    def update(self, values: TensorLike, weights: TensorLike | None = None) -> Self:
        """Adds one tensor [...] with its weights."""
        values = as_tensor(values)
        values = values.to(accumulator_dtype(values.device))
        if weights is None:
            return self.accumulate(total=values, count=torch.ones_like(values))
        aligned = align_weights(weights, values)
        return self.accumulate(total=values * aligned, count=aligned)

    def compute(self) -> Tensor:
        """The means, in the shape of the values."""
        return divide(self.state["total"], self.state["count"].clamp(min=0))


def mean(values: TensorLike, weights: TensorLike | None = None) -> Mean:
    """Weighted mean of all elements of `values` over the evaluation (`tf.compat.v1.metrics.mean`).

    Args:
        values: [...], any dtype.
        weights: a number, [batch], [batch, 1] or the shape of `values`.

    Returns:
        A metric with a value of shape []; 0 when nothing was averaged.
    """
    return Mean().update(values, weights)


def mean_tensor(values: TensorLike, weights: TensorLike | None = None) -> ElementwiseMean:
    """Mean of each element over the batches (`tf.compat.v1.metrics.mean_tensor`).

    The first dimension is no batch dimension here: every call adds one tensor, always of the same shape, so
    give statistics of a batch, such as `confusion_counts` or `activations.mean(0)`, not rows.

    Args:
        values: [...], the same shape at each batch.
        weights: a number, or dimensions equal to those of `values` or 1.

    Returns:
        A metric with a value in the shape of `values`; 0 where all weights were 0.
    """
    return ElementwiseMean().update(values, weights)


def percentage_below(values: TensorLike, threshold: TensorLike, weights: TensorLike | None = None) -> Mean:
    """Weighted share, between 0 and 1, of values below a threshold (`tf.compat.v1.metrics.percentage_below`).

    Args:
        values: [...].
        threshold: a number, or a tensor of shape [] or that of `values`; a value equal to it is not below.
        weights: a number, [batch], [batch, 1] or the shape of `values`.

    Returns:
        A metric with a value of shape [].

    Raises:
        ValueError: `threshold` is a tensor of another shape.
    """
    values = as_tensor(values)
    if isinstance(threshold, (int, float)):
        return Mean().update(values < threshold, weights)
    limits = as_tensor(threshold)
    if limits.shape not in (values.shape, torch.Size()):
        raise ValueError(
            "`threshold` must be a number or have the shape of `values`. "
            f"Received: threshold {list(limits.shape)}, values {list(values.shape)}."
        )
    return Mean().update(values < limits, weights)
