"""categorical_column_with_identity: categories that are ids already."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchestimator.feature_column.category_type import CategoryType, check_likely_numbers
from torchestimator.feature_column.column import check_key
from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.hash_bucket import check_bucket_size
from torchestimator.feature_column.single_feature import SingleFeatureColumn
from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.tracing import is_readable


@dataclass(frozen=True)
class IdentityCategoricalColumn(SingleFeatureColumn):
    """Categories that are ids; see `categorical_column_with_identity`."""

    key: str
    """The feature."""
    number_buckets: int
    """How many ids there are."""
    default_value: int | None
    """The id of all values outside of the range; None: they are errors, and negative ones no values."""

    @property
    def dtype(self) -> CategoryType:  # type: ignore[override]
        """Whole numbers."""
        return torch.int64

    @property
    def num_buckets(self) -> int:
        return self.number_buckets

    def ids_of(self, categories: FeatureValues, tables: tuple[Tensor, ...]) -> CategoryIds:  # noqa: ARG002
        ids, absent = categories.values, categories.absent
        if self.default_value is not None:
            inside = (ids >= 0) & (ids < self.number_buckets)
            return CategoryIds(torch.where(inside, ids, self.default_value), absent, are_total=True)
        if is_readable(ids) and ids.numel() and int(ids.max()) >= self.number_buckets:
            self._refuse(ids)
        return CategoryIds(ids, absent)

    def check(self, view: FeatureView) -> None:
        check_likely_numbers(view.cache.values(self.key).values, self.key)

    def _refuse(self, ids: Tensor) -> None:
        outside = ids[ids >= self.number_buckets]
        raise ValueError(
            f"The feature {self.key!r} must hold ids from 0 to {self.number_buckets - 1}. Received: {len(outside)} "
            f"outside, such as {', '.join(map(str, outside[:3].tolist()))}. Raise `num_buckets`, or give out-of-range "
            f"ids one of their own: categorical_column_with_identity({self.key!r}, {self.number_buckets}, "
            "default_value=0)"
        )


def categorical_column_with_identity(
    key: str, num_buckets: int, default_value: Any = None
) -> IdentityCategoricalColumn:
    """Categories that are ids already (tf.feature_column.categorical_column_with_identity).

    Args:
        key: the feature: whole numbers. In ordinary tensors -1 means that there is no value.
        num_buckets: how many ids there are: 0 to `num_buckets` - 1.
        default_value: the id for all values outside of that range. None: ids above it are errors, found where values
            are on the CPU and the step is eager; negative ones count as no value.

    Raises:
        TypeError: the key is no string.
        ValueError: the number is not positive, or the default outside of the range.
    """
    function = "categorical_column_with_identity"
    size = check_bucket_size(num_buckets, function, "num_buckets")
    if default_value is not None and not (isinstance(default_value, int) and 0 <= default_value < size):
        raise ValueError(
            f"`default_value` of {function}({key!r}) must be an id from 0 to {size - 1}. Received: {default_value!r}."
        )
    return IdentityCategoricalColumn(check_key(key, function), size, default_value)
