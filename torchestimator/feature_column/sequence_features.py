"""SequenceFeatures: sequence columns side by side, the input of a recurrent network."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator.feature_column.column import DenseColumn, FeatureColumn, Sequence, SequenceColumn
from torchestimator.feature_column.layer import ColumnLayer, checked_columns
from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.tracing import is_readable, sizes


class SequenceFeatures(ColumnLayer):
    """The steps of sequence columns side by side, ordered by name (tf.keras.experimental.SequenceFeatures).

        words = sequence_categorical_column_with_hash_bucket("words", 1000)
        values, lengths = SequenceFeatures([embedding_column(words, 8)])({"words": [["a", "b"], ["c", ""]]})
        # values [2, 2, 8], lengths [2, 1]

    Args:
        feature_columns: sequence_numeric columns, and embedding and indicator columns of sequence_categorical ones.

    Raises:
        TypeError: one is none of these.
        ValueError: there are none, or two have one name.
    """

    def __init__(self, feature_columns: Any) -> None:
        columns = checked_columns(feature_columns)
        for column in columns:
            _check(column)
        super().__init__(columns)
        for column in self.feature_columns:
            if isinstance(column, DenseColumn) and self.weights_of(column.weights_name) is None:
                weights = column.make_weights()
                if weights is not None:
                    self.add_weights(column.weights_name, weights)

    def forward(self, features: Mapping[str, Any] | FeatureTransformationCache) -> Sequence:
        """The values of a batch.

        Args:
            features: values by name, or a `FeatureTransformationCache` that other layers use too.

        Returns:
            The pair of [batch, steps, width] float32 values, zero (or the default of a numeric column) after the end of
            a sequence, and [batch] int64 lengths.

        Raises:
            ValueError: a feature is missing or has a wrong shape, or the lengths of two features differ.
            TypeError: a feature has the wrong dtype.
        """
        view = self.view(features)
        found: list[Sequence] = []
        for column in self.feature_columns:
            assert isinstance(column, SequenceColumn)
            name = column.weights_name if isinstance(column, DenseColumn) else column.name
            found.append(column.sequence_tensor(view, self.weights_of(name)))
        self._check_lengths([each.lengths for each in found])
        steps = [sizes(each.values)[1] for each in found]
        parts = [
            F.pad(each.values.flatten(2), (0, 0, 0, max(steps) - num_steps))
            if num_steps < max(steps)
            else each.values.flatten(2)
            for each, num_steps in zip(found, steps, strict=True)
        ]
        return Sequence(torch.cat(parts, 2), found[0].lengths)

    def _check_lengths(self, lengths: list[Tensor]) -> None:
        if not all(is_readable(each) for each in lengths):
            return
        for column, each in zip(self.feature_columns[1:], lengths[1:], strict=True):
            if not torch.equal(each, lengths[0]):
                row = int((each != lengths[0]).nonzero()[0])
                raise ValueError(
                    "The sequences of one example must be equally long in all features. Received, for example "
                    f"{row}: {int(lengths[0][row])} steps of {self.feature_columns[0].name!r} and {int(each[row])} of "
                    f"{column.name!r}."
                )


def _check(column: FeatureColumn) -> None:
    if not column.is_sequence or not isinstance(column, SequenceColumn):
        raise TypeError(
            f"SequenceFeatures takes sequence columns. Received: {column.name!r} ({type(column).__name__}). Write "
            "sequence_numeric_column(...), or an embedding_column or indicator_column of a "
            "sequence_categorical_column_with_... For other columns use DenseFeatures."
        )
