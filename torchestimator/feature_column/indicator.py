"""indicator_column: categories as numbers, a column for each."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from torchestimator.feature_column.column import CategoricalColumn, DenseColumn, ParseSpec, Sequence, SequenceColumn
from torchestimator.feature_column.sequence_lengths import sequence_lengths
from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.feature_column.weighted import check_categorical


@dataclass(frozen=True)
class IndicatorColumn(DenseColumn, SequenceColumn):
    """Counts of categories; see `indicator_column`."""

    categorical_column: CategoricalColumn
    """The categories."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_indicator"

    @property
    def parents(self) -> tuple[CategoricalColumn]:
        return (self.categorical_column,)

    @property
    def variable_shape(self) -> tuple[int, ...]:
        return (self.categorical_column.num_buckets,)

    @property
    def parse_example_spec(self) -> ParseSpec:
        return self.categorical_column.parse_example_spec

    def dense_tensor(self, view: FeatureView, weights: nn.Module | None = None) -> Tensor:  # noqa: ARG002
        return self._counts(view.counted_ids(self.categorical_column), 1)

    def sequence_tensor(self, view: FeatureView, weights: nn.Module | None = None) -> Sequence:  # noqa: ARG002
        ids = view.counted_ids(self.categorical_column)
        steps = CategoryIds(ids.ids.unsqueeze(2), _unsqueezed(ids.absent), _unsqueezed(ids.weights), ids.are_total)
        return Sequence(self._counts(steps, 2), sequence_lengths(view.ids(self.categorical_column)))

    def _counts(self, ids: CategoryIds, dim: int) -> Tensor:
        size = self.categorical_column.num_buckets
        # What does not count is counted in one more column.
        places = ids.ids if ids.absent is None else ids.ids.masked_fill(ids.absent, size)
        counts = torch.zeros((*places.shape[:-1], size + 1), device=places.device)
        ones = torch.ones_like(places, dtype=torch.float32) if ids.weights is None else ids.weights
        return counts.scatter_add(dim, places, ones)[..., :size]


def indicator_column(categorical_column: Any) -> IndicatorColumn:
    """Categories as numbers, one column for each, with how often it is there (tf.feature_column.indicator_column).

    A value that is there twice counts 2; values without an id count nowhere; of weighted categories it is the sum of
    the weights.

    Args:
        categorical_column: the categories. For more than some hundreds an embedding_column is cheaper.

    Raises:
        TypeError: these are no categories.
    """
    check_categorical(categorical_column, "indicator_column")
    return IndicatorColumn(categorical_column)


def _unsqueezed(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.unsqueeze(2)
