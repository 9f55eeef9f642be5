"""The shape rules of labels, predictions and weights, as in `tf.compat.v1.metrics`.

`[batch]` and `[batch, 1]` mean the same; nothing else is made to fit, so that `[batch]` against `[batch, 1]` never
becomes `[batch, batch]`. All checks look at shapes alone and cost no device work.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from torchestimator.metrics.metric import accumulator_dtype

TensorLike: TypeAlias = Tensor | np.ndarray[Any, Any] | np.generic | Sequence[Any] | float
"""What metrics take for labels, predictions, values and weights: tensors of any dtype, or what becomes one."""


def as_tensor(values: TensorLike) -> Tensor:
    """`values` as a tensor that carries no gradient, so that a metric never keeps a graph alive."""
    tensor = values if isinstance(values, Tensor) else torch.as_tensor(values)
    return tensor.detach() if tensor.requires_grad else tensor


def align_pair(
    labels: TensorLike, predictions: TensorLike, names: tuple[str, str] = ("labels", "predictions")
) -> tuple[Tensor, Tensor]:
    """Brings two inputs to one shape by dropping a trailing dimension of 1 that only one of them has.

    Args:
        labels: [...] or [..., 1].
        predictions: [...] or [..., 1].
        names: the public names of the two, for the error.

    Returns:
        Both, in one shape.

    Raises:
        ValueError: the shapes differ in more than a trailing 1.
    """
    labels, predictions = as_tensor(labels), as_tensor(predictions)
    if labels.shape == predictions.shape:
        return labels, predictions
    if predictions.ndim == labels.ndim + 1 and predictions.shape[-1] == 1:
        squeezed = labels, predictions.squeeze(-1)
    elif labels.ndim == predictions.ndim + 1 and labels.shape[-1] == 1:
        squeezed = labels.squeeze(-1), predictions
    else:
        squeezed = labels, predictions
    if squeezed[0].shape != squeezed[1].shape:
        advice = ""
        if predictions.ndim == labels.ndim + 1:
            advice = f" For scores [..., classes] pass the class ids: {names[1]}.argmax(-1)."
        raise ValueError(
            f"`{names[0]}` and `{names[1]}` must have the same shape, up to a trailing dimension of 1. "
            f"Received: {names[0]} {list(labels.shape)}, {names[1]} {list(predictions.shape)}.{advice}"
        )
    return squeezed


def align_weights(weights: TensorLike, values: Tensor) -> Tensor:
    """Broadcasts weights over values.

    Args:
        weights: a number, or a tensor of shape [], [batch], [batch, 1] or that of `values`. A weight of shape
            [batch] counts for all values of its example; dimensions of 1 are repeated.
        values: [...], what is weighted.

    Returns:
        The weights in the shape and on the device of `values`, in the dtype of the sums.

    Raises:
        ValueError: `weights` does not fit.
    """
    dtype = accumulator_dtype(values.device)
    if not isinstance(weights, Tensor) and isinstance(weights, (int, float)):
        return torch.full(values.shape, weights, dtype=dtype, device=values.device)
    given = as_tensor(weights)
    aligned = given
    if aligned.ndim == values.ndim + 1 and aligned.shape[-1] == 1:
        aligned = aligned.squeeze(-1)
    elif 0 < aligned.ndim < values.ndim:
        aligned = aligned.reshape(aligned.shape + (1,) * (values.ndim - aligned.ndim))
    fits = aligned.ndim in (0, values.ndim) and all(
        size in (1, wanted) for size, wanted in zip(aligned.shape, values.shape, strict=False)
    )
    if not fits:
        raise ValueError(
            "`weights` must be a number, one weight per example ([batch] or [batch, 1]), or have the shape of the "
            f"values. Received: weights {list(given.shape)}, values {list(values.shape)}."
        )
    return aligned.to(values.device, dtype).expand(values.shape)
