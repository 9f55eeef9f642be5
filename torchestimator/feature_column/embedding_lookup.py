"""Looking ids up in a table of weights: one row per example, combined of those of its ids."""

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator.feature_column.transformation import CategoryIds
from torchestimator.tracing import may_have_sparse_gradient, sizes

Combiner: TypeAlias = Literal["mean", "sum", "sqrtn"]

COMBINERS = ("mean", "sum", "sqrtn")

SPARSE_GRADIENT_ELEMENTS = 1 << 20
"""Elements of a table, 4 MiB of float32, from which on its gradient is sparse in training. Below that,
filling and adding a dense gradient costs no more than sorting rows, and every optimizer takes it."""


def combined_rows(table: Tensor, ids: CategoryIds, combiner: Combiner, max_norm: float | None = None) -> Tensor:
    """The rows of each example's ids, combined (tf.nn.safe_embedding_lookup_sparse).

    An id that does not count looks up a row as well and gives it a gradient of zero, as TensorFlow's empty examples do.

    With weights w and rows e: "sum" is sum(w e), "mean" that over sum(w), "sqrtn" over sqrt(sum(w**2)). For the last
    two ids with a weight of zero or less do not count.

    Args:
        table: [ids, size].
        ids: [batch, k], as `CategoryIds.counted` gives them.
        combiner: how.
        max_norm: rows with a larger L2 norm are scaled down to it before.

    Returns:
        [batch, size], zeros where an example has no id that counts.
    """
    if ids.weights is None and sizes(ids.ids)[1] == 1:
        # The sum, the mean and the other mean of one row are that row.
        rows = _rows(table, ids, max_norm).flatten(1)
        return rows if ids.absent is None else rows.masked_fill(ids.absent, 0.0)
    weights = _weights(ids, combiner, table.dtype)
    total = (rows_of(table, ids, max_norm) * weights.unsqueeze(2)).sum(1)
    if combiner == "sum":
        return total
    norm = weights.sum(1, keepdim=True) if combiner == "mean" else weights.square().sum(1, keepdim=True).sqrt()
    return total / torch.where(norm > 0, norm, 1.0)


def rows_of(table: Tensor, ids: CategoryIds, max_norm: float | None = None) -> Tensor:
    """The row of each id: [batch, k, size], zeros where it does not count."""
    rows = _rows(table, ids, max_norm)
    return rows if ids.absent is None else rows.masked_fill(ids.absent.unsqueeze(2), 0.0)


def _rows(table: Tensor, ids: CategoryIds, max_norm: float | None) -> Tensor:
    """[batch, k, size], any row where an id does not count."""
    is_large = table.requires_grad and table.numel() >= SPARSE_GRADIENT_ELEMENTS
    is_sparse = is_large and may_have_sparse_gradient(ids.ids)
    rows = F.embedding(ids.ids, table, sparse=is_sparse)
    if max_norm is None:
        return rows
    norms: Tensor = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
    return rows * (max_norm / norms.clamp(min=max_norm))


def _weights(ids: CategoryIds, combiner: Combiner, dtype: torch.dtype) -> Tensor:
    """[batch, k]: zero where an id does not count."""
    if ids.weights is None:
        return torch.ones_like(ids.ids, dtype=dtype) if ids.absent is None else (~ids.absent).to(dtype)
    weights = ids.weights.to(dtype)
    if combiner != "sum":
        weights = weights.clamp(min=0)
    return weights if ids.absent is None else weights.masked_fill(ids.absent, 0.0)
