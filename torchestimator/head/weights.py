"""Weights of examples, from a feature."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from torchestimator.tracing import is_readable


@runtime_checkable
class NumericColumn(Protocol):
    """What a head needs to know of a numeric feature column; an attribute `normalizer_fn` is applied if there."""

    @property
    def key(self) -> str:
        """The name of the feature."""


WeightColumn: TypeAlias = str | NumericColumn
"""The name of a feature, or a numeric column of it."""


def check_weight_column(weight_column: WeightColumn | None) -> WeightColumn | None:
    """Returns `weight_column` if weights can be read through it.

    Raises:
        TypeError: it is neither a name nor a numeric column.
    """
    if weight_column is None or isinstance(weight_column, str):
        return weight_column
    # Categorical columns have a key too.
    is_numeric = isinstance(weight_column, NumericColumn) and not hasattr(weight_column, "num_buckets")
    if not is_numeric or not isinstance(weight_column.key, str):
        raise TypeError(
            "`weight_column` must be the name of a feature or a numeric column of one. "
            f'Received: {weight_column!r}. Write: weight_column="weight"'
        )
    return weight_column


def weights_of(
    features: Any, weight_column: WeightColumn | None, logits: Tensor, mask: Tensor | None, per_output: bool
) -> Tensor | None:
    """The weight of each example, ready to be multiplied with losses.

    Weights below 0 or NaN are an error; where they can't be looked into (see `readable`) they make the loss NaN.

    Args:
        features: dict with the feature of weights; not looked at without `weight_column`.
        weight_column: where they are; None: no weights.
        logits: [..., outputs].
        mask: [..., 1] bool, False on padding, whose weights may be anything; None: no padding.
        per_output: whether there may be one weight for each output.

    Returns:
        [..., 1] or [..., outputs] in the dtype of `logits`; None if every weight is 1.

    Raises:
        TypeError: `features` is no dict.
        ValueError: the feature is missing, or its shape or a value does not fit.
    """
    if weight_column is None:
        return None if mask is None else mask.to(logits.dtype)
    key = weight_column if isinstance(weight_column, str) else weight_column.key
    weights = _feature(features, key)
    normalizer_fn = getattr(weight_column, "normalizer_fn", None)
    if normalizer_fn is not None:
        weights = normalizer_fn(weights)
    given = list(weights.shape)
    if weights.dim() == logits.dim() - 1:
        weights = weights.unsqueeze(-1)
    outputs = logits.shape[-1] if per_output else 1
    if (
        weights.dim() != logits.dim()
        or weights.shape[:-1] != logits.shape[:-1]
        or weights.shape[-1] not in (1, outputs)
    ):
        batch = list(logits.shape[:-1])
        allowed = f"{batch}, {[*batch, 1]}" + (f" or {[*batch, outputs]}" if outputs > 1 else "")
        raise ValueError(
            f"The weights in feature {key!r} (`weight_column`) must have one number per example: shape {allowed}. "
            f"Received: shape {given}."
        )
    weights = weights.to(logits.dtype)
    if mask is not None:
        weights = torch.where(mask, weights, 0)
    return _not_negative(weights, key)


def _feature(features: Any, key: str) -> Tensor:
    if not isinstance(features, Mapping):
        raise TypeError(
            "`features` must be a dict of tensors, to find the weights in. Received: "
            f'{type(features).__name__}. Write: {{"x": x, "{key}": weights}}'
        )
    if key not in features:
        raise ValueError(
            f"`weight_column` names the feature {key!r}, which is not there. Received: features {sorted(features)}."
        )
    weights = torch.as_tensor(features[key])
    if weights.is_complex() or weights.layout != torch.strided:
        raise TypeError(
            f"The weights in feature {key!r} (`weight_column`) must be a dense tensor of real numbers. "
            f"Received: {weights.dtype}, layout {weights.layout}."
        )
    return weights


def _not_negative(weights: Tensor, key: str) -> Tensor:
    if not is_readable(weights):
        return torch.where(weights >= 0, weights, torch.nan)
    if weights.numel() and not weights.min().item() >= 0:
        bad = torch.nonzero(~(weights >= 0))[:3].tolist()
        shown = ", ".join(f"{weights[tuple(place)].item():g} (row {place[0]})" for place in bad)
        raise ValueError(
            f"The weights in feature {key!r} (`weight_column`) must be 0 or more. Received: {shown}. "
            "To leave an example out, give it the weight 0."
        )
    return weights
