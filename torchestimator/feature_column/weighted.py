"""weighted_categorical_column: categories, each with a weight from another feature."""

from dataclasses import dataclass
from typing import Any

import torch

from torchestimator.feature_column.column import CategoricalColumn, ParseSpec, check_key
from torchestimator.feature_column.parse_example_spec import merge_parse_specs
from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.io.feature_spec import VarLenFeature
from torchestimator.tracing import is_readable, sizes


@dataclass(frozen=True)
class WeightedCategoricalColumn(CategoricalColumn):
    """Weighted categories; see `weighted_categorical_column`."""

    categorical_column: CategoricalColumn
    """The categories."""
    weight_feature_key: str
    """The feature with the weights."""
    dtype: torch.dtype
    """Of the weights."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_weighted_by_{self.weight_feature_key}"

    @property
    def parents(self) -> tuple[CategoricalColumn]:
        return (self.categorical_column,)

    @property
    def num_buckets(self) -> int:
        return self.categorical_column.num_buckets

    @property
    def parse_example_spec(self) -> ParseSpec:
        kind = torch.float32 if self.dtype.is_floating_point else torch.int64
        weights: ParseSpec = {self.weight_feature_key: VarLenFeature(kind)}
        return merge_parse_specs([self.categorical_column.parse_example_spec, weights])

    def identify(self, view: FeatureView) -> CategoryIds:
        ids = view.ids(self.categorical_column)
        weights, absent = view.cache.values(self.weight_feature_key)
        if weights.is_floating_point() != self.dtype.is_floating_point:
            raise TypeError(
                f"The weights {self.weight_feature_key!r} of the column {self.categorical_column.name!r} must have the "
                f"dtype {self.dtype}. Received: {weights.dtype}. Pass `dtype={weights.dtype}` to "
                "weighted_categorical_column, or convert them."
            )
        if sizes(weights) != sizes(ids.ids):
            self._refuse(f"shape {list(weights.shape)} for ids of shape {list(ids.ids.shape)}")
        if absent is not None and ids.absent is not None and is_readable(weights):
            lacking = (absent & ~ids.absent).any(1).nonzero().flatten()
            if len(lacking):
                self._refuse(f"fewer weights than ids in the rows {lacking[:3].tolist()}")
        weights = weights.to(torch.float32)
        if absent is not None:
            weights = weights.masked_fill(absent, 0.0)
        return CategoryIds(ids.ids, ids.absent, weights, ids.are_total)

    def _refuse(self, received: str) -> None:
        raise ValueError(
            f"The weights {self.weight_feature_key!r} of the column {self.categorical_column.name!r} must be as many "
            f"as its values, one for each. Received: {received}."
        )


def weighted_categorical_column(
    categorical_column: CategoricalColumn, weight_feature_key: str, dtype: torch.dtype | str = torch.float32
) -> WeightedCategoricalColumn:
    """Categories, each with a weight from another feature (tf.feature_column.weighted_categorical_column).

    A document as its words and their frequencies, for example. In embeddings with the combiners "mean" and "sqrtn",
    values with a weight of zero or less do not count; with "sum" they do, with that weight.

    Args:
        categorical_column: the categories.
        weight_feature_key: the feature with the weights, of the shape of the categories.
        dtype: of the weights, as float or integer.

    Raises:
        TypeError: these are no categories, or the key is no string.
        ValueError: the dtype is neither float nor integer.
    """
    check_categorical(categorical_column, "weighted_categorical_column")
    kind: Any = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(kind, torch.dtype) or kind.is_complex or kind is torch.bool:
        raise ValueError(
            f"`dtype` of weighted_categorical_column must be a float or integer dtype. Received: {dtype!r}."
        )
    key = check_key(weight_feature_key, "weighted_categorical_column")
    return WeightedCategoricalColumn(categorical_column, key, kind)


def check_categorical(column: Any, function: str) -> None:
    """Checks the column that another one is to be made of.

    Raises:
        TypeError: it is not categorical.
    """
    if not isinstance(column, CategoricalColumn):
        raise TypeError(
            f"`categorical_column` of {function} must be a categorical column, such as "
            f"categorical_column_with_hash_bucket(...). Received: {column!r}."
        )
