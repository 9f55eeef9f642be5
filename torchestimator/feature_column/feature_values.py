"""Values of one feature: what users give, and the one form that columns compute with.

Columns compute with padded values: [batch, k] beside a mask of the places that hold a value. That shape is static
where the feature is dense, so graphs can be captured and exported; a cross of two features is a broadcast; and with one
value per example, by far the most frequent case, nothing is spent on rows of different lengths. A feature whose rows
have very different lengths pays for the longest one of a batch.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from torchestimator.inputs.batch import to_tensors
from torchestimator.inputs.ragged import RaggedFeature


class FeatureValues(NamedTuple):
    """The values of a feature as columns compute with them."""

    values: Tensor
    """[batch, k], or [batch, k, size] for sequences of vectors."""
    absent: Tensor | None
    """[batch, k] bool, true where `values` is mere padding. None: nothing is, as in an ordinary tensor."""


def feature_values(value: Any, key: str, *, keep_places: bool = False) -> FeatureValues:
    """Brings a feature into the padded form.

    Args:
        value: [batch] or [batch, k] a tensor, array or nested list of numbers or strings; a sparse COO tensor; a nested
            tensor of the jagged layout; or a `RaggedFeature`.
        key: how errors call it.
        keep_places: whether the values of a sparse tensor stay in their columns, as steps of a sequence do. Without it
            they move to the front of their rows, so that columns without values cost nothing.

    Raises:
        ValueError: it has no batch dimension or too many dimensions, or the offsets do not fit.
        TypeError: these are no numbers or strings.
    """
    if isinstance(value, RaggedFeature):
        values, offsets = (to_tensors(part, name=f'features["{key}"]')[0] for part in value)
        return _from_offsets(values, offsets, key)
    if isinstance(value, Tensor):
        if value.is_nested:
            return _from_nested(value, key)
        if value.layout is torch.sparse_coo:
            return _from_sparse(value, key, keep_places)
    return FeatureValues(dense_values(value, key), None)


def dense_values(value: Any, key: str) -> Tensor:
    """The values of a feature that must have the same number in every example: [batch, ...], at least [batch, 1].

    Raises:
        TypeError: it is sparse, nested or ragged.
        ValueError: it has no batch dimension.
    """
    if isinstance(value, RaggedFeature) or (isinstance(value, Tensor) and (value.is_nested or value.is_sparse)):
        raise TypeError(
            f"The feature {key!r} must be an ordinary tensor, with the same number of values in each example. "
            f"Received: {_kind(value)}. Make it one first: `.to_dense()`, or `torch.nested.to_padded_tensor`."
        )
    tensor = value if isinstance(value, Tensor) else to_tensors(value, name=f'features["{key}"]')[0]
    if not isinstance(tensor, Tensor):
        raise TypeError(f"The feature {key!r} must be one tensor or array. Received: {type(value).__name__}.")
    if tensor.dim() == 0:
        raise ValueError(
            f"The feature {key!r} must have the batch as its first dimension. Received: a single number. "
            f'For one example write features["{key}"] = torch.tensor([...]).'
        )
    return tensor.unsqueeze(1) if tensor.dim() == 1 else tensor


def _from_offsets(values: Tensor, offsets: Tensor, key: str) -> FeatureValues:
    if offsets.dim() != 1 or offsets.is_floating_point() or values.dim() not in (1, 2) or not len(offsets):
        raise ValueError(
            f"The feature {key!r} needs `values` of shape [values] and `offsets` of shape [batch + 1] and an integer "
            f"dtype. Received: values {list(values.shape)}, offsets {offsets.dtype} {list(offsets.shape)}."
        )
    offsets = offsets.to(torch.int64)
    lengths = offsets[1:] - offsets[:-1]
    ends = int(offsets[0]), int(offsets[-1])
    if ends != (0, len(values)) or bool((lengths < 0).any()):
        raise ValueError(
            f"`offsets` of the feature {key!r} must rise from 0 to the number of values, {len(values)}. Received: "
            f"offsets from {ends[0]} to {ends[1]}, with the smallest step {int(lengths.min()) if len(lengths) else 0}. "
            "The batch has one offset more than examples."
        )
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=values.device), lengths)
    columns = torch.arange(len(values), device=values.device) - offsets[:-1][rows]
    return _padded(values, rows, columns, len(lengths), int(lengths.max()) if len(lengths) else 0)


def _from_nested(value: Tensor, key: str) -> FeatureValues:
    if value.layout is not torch.jagged or value.values().dim() > 2:
        raise ValueError(
            f"The feature {key!r} must be a nested tensor of layout torch.jagged with one value, or one vector, per "
            f"place. Received: layout {value.layout}, {value.dim()} dimensions. "
            "Write: torch.nested.nested_tensor(rows, layout=torch.jagged)"
        )
    offsets: Tensor = value.offsets()  # type: ignore[attr-defined]
    return _from_offsets(value.values(), offsets, key)


def _from_sparse(value: Tensor, key: str, keep_places: bool) -> FeatureValues:
    if value.sparse_dim() != 2 or value.dim() != 2:
        raise ValueError(
            f"The feature {key!r} must be a sparse tensor of shape [batch, k]. Received: {list(value.shape)}, "
            f"with {value.sparse_dim()} sparse dimensions."
        )
    value = value.coalesce()
    rows, columns = value.indices()
    width = int(value.shape[1])
    if not keep_places:
        counts = torch.bincount(rows, minlength=value.shape[0])
        columns = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        width = int(counts.max()) if len(counts) else 0
    return _padded(value.values(), rows, columns, int(value.shape[0]), width)


def _padded(values: Tensor, rows: Tensor, columns: Tensor, num_rows: int, width: int) -> FeatureValues:
    padded = values.new_zeros((num_rows, width, *values.shape[1:]))
    padded[rows, columns] = values
    absent = torch.ones((num_rows, width), dtype=torch.bool, device=values.device)
    absent[rows, columns] = False
    return FeatureValues(padded, absent)


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return "a nested tensor" if value.is_nested else "a sparse tensor"
    return type(value).__name__
