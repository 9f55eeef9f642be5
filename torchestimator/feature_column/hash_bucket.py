"""categorical_column_with_hash_bucket: categories by the hash of their values."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchestimator.feature_column.category_type import CategoryType, category_type
from torchestimator.feature_column.column import check_key
from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.hashing import fingerprint_of_integers, unsigned_remainder
from torchestimator.feature_column.single_feature import SingleFeatureColumn
from torchestimator.feature_column.transformation import CategoryIds


@dataclass(frozen=True)
class HashedCategoricalColumn(SingleFeatureColumn):
    """Categories by hash; see `categorical_column_with_hash_bucket`."""

    key: str
    """The feature."""
    hash_bucket_size: int
    """How many ids there are."""
    dtype: CategoryType
    """torch.int64 or `str`; integers are hashed as they are written in decimal."""

    @property
    def num_buckets(self) -> int:
        return self.hash_bucket_size

    def ids_of(self, categories: FeatureValues, tables: tuple[Tensor, ...]) -> CategoryIds:  # noqa: ARG002
        fingerprints = hashable(categories.values, self.dtype)
        return CategoryIds(unsigned_remainder(fingerprints, self.hash_bucket_size), categories.absent, are_total=True)


def categorical_column_with_hash_bucket(
    key: str, hash_bucket_size: int, dtype: CategoryType | str = str
) -> HashedCategoricalColumn:
    """Categories by the hash of their values, where there are too many to list them
    (tf.feature_column.categorical_column_with_hash_bucket).

    The id is FarmHash Fingerprint64 of the string's UTF-8 bytes, modulo the number of buckets: TensorFlow's ids.

    Args:
        key: the feature. "" and, of integers, -1 mean that there is no value, in ordinary tensors.
        hash_bucket_size: how many ids there are.
        dtype: `str`, or torch.int64 for whole numbers, which are hashed as they are written in decimal.

    Raises:
        TypeError: the key is no string.
        ValueError: the size is no positive number, or the dtype none of these.
    """
    function = "categorical_column_with_hash_bucket"
    return HashedCategoricalColumn(
        check_key(key, function), check_bucket_size(hash_bucket_size, function), category_type(dtype, function)
    )


def hashable(values: Tensor, dtype: CategoryType) -> Tensor:
    """The fingerprints of categories: strings come as such."""
    return values if dtype is str else fingerprint_of_integers(values)


def check_bucket_size(size: Any, function: str, argument: str = "hash_bucket_size") -> int:
    """A number of buckets as given by the user.

    Raises:
        ValueError: it is no whole number of 1 or more.
    """
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size < torch.iinfo(torch.int64).max // 4:
        raise ValueError(f"`{argument}` of {function} must be a whole number, 1 or more. Received: {size!r}.")
    return size
