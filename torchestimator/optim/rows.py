"""The rows of a table that a sparse gradient touches."""

import torch
from torch import Tensor

SMALL_TABLE = 1 << 20
"""Elements up to which every row of a table is updated where TensorFlow does so; it takes a few milliseconds."""


def check_sparsity(gradient: Tensor) -> None:
    """Looks whether a sparse gradient is one of rows.

    Raises:
        ValueError: it is sparse in more than its first dimension.
    """
    if gradient.sparse_dim() != 1:
        raise ValueError(
            "A sparse gradient must be sparse in its first dimension only, as those of "
            "torch.nn.Embedding(..., sparse=True) are. "
            f"Received: shape {list(gradient.shape)} with {gradient.sparse_dim()} sparse dimensions. "
            "Make it dense: loss.backward() with sparse=False in the layer."
        )


def touched_rows(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of a sparse gradient, and the sum of what it has for each.

    Under a tracer, where shapes must not depend on values, a row that occurs several times is given
    as often, each time with its whole sum; writing a row's new values several times is harmless.

    Args:
        gradient: [rows, ...] sparse in the first dimension, with any order and number of repetitions.

    Returns:
        [touched] int64 the rows, and [touched, ...] the sums.
    """
    if torch.compiler.is_compiling():
        return _repeated_sums(gradient._indices()[0], gradient._values())
    gradient = gradient.coalesce()
    return gradient._indices()[0], gradient._values()


def densified(gradient: Tensor) -> Tensor:
    """[rows, ...] a sparse gradient as a dense one, in operations that a tracer knows."""
    values = gradient._values()
    return values.new_zeros(gradient.shape).index_add_(0, gradient._indices()[0], values)


def _repeated_sums(rows: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    ordered, order = torch.sort(rows, stable=True)
    begins = torch.ones_like(ordered)
    begins[1:] = ordered[1:] != ordered[:-1]
    number = begins.cumsum(0) - 1
    sums = torch.zeros_like(values).index_add_(0, number, values.index_select(0, order))
    return ordered, sums.index_select(0, number)
