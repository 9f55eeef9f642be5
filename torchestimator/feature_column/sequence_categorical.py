"""Sequences of categories: the sequence_categorical_column_with_... functions."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchestimator.feature_column.category_type import CategoryType
from torchestimator.feature_column.column import CategoricalColumn, ParseSpec
from torchestimator.feature_column.hash_bucket import categorical_column_with_hash_bucket
from torchestimator.feature_column.identity import categorical_column_with_identity
from torchestimator.feature_column.single_feature import SingleFeatureColumn
from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.feature_column.vocabulary_file import categorical_column_with_vocabulary_file
from torchestimator.feature_column.vocabulary_list import categorical_column_with_vocabulary_list


@dataclass(frozen=True)
class SequenceCategoricalColumn(CategoricalColumn):
    """Categories whose order matters, for `SequenceFeatures` within an embedding_column or an indicator_column."""

    categorical_column: SingleFeatureColumn
    """The categories of a step."""

    @property
    def name(self) -> str:
        return self.categorical_column.name

    @property
    def parents(self) -> tuple[SingleFeatureColumn]:
        return (self.categorical_column,)

    @property
    def is_sequence(self) -> bool:
        return True

    @property
    def num_buckets(self) -> int:
        return self.categorical_column.num_buckets

    @property
    def parse_example_spec(self) -> ParseSpec:
        return self.categorical_column.parse_example_spec

    def identify(self, view: FeatureView) -> CategoryIds:
        column = self.categorical_column
        steps = view.cache.categories(column.key, column.dtype, keep_places=True)
        return column.ids_of(steps, view.tables(column))


def sequence_categorical_column_with_identity(
    key: str, num_buckets: int, default_value: Any = None
) -> SequenceCategoricalColumn:
    """Sequences of ids (tf.feature_column.sequence_categorical_column_with_identity).

    The feature is [batch, steps], or sparse, nested or ragged; -1 in ordinary tensors pads. The arguments are those of
    `categorical_column_with_identity`.
    """
    return SequenceCategoricalColumn(categorical_column_with_identity(key, num_buckets, default_value))


def sequence_categorical_column_with_hash_bucket(
    key: str, hash_bucket_size: int, dtype: CategoryType | str = str
) -> SequenceCategoricalColumn:
    """Sequences of categories by hash (tf.feature_column.sequence_categorical_column_with_hash_bucket).

    The feature is [batch, steps], or sparse, nested or ragged; "" and -1 in ordinary tensors pad. The arguments are
    those of `categorical_column_with_hash_bucket`.
    """
    return SequenceCategoricalColumn(categorical_column_with_hash_bucket(key, hash_bucket_size, dtype))


def sequence_categorical_column_with_vocabulary_file(
    key: str,
    vocabulary_file: str | os.PathLike[str],
    vocabulary_size: int | None = None,
    num_oov_buckets: int = 0,
    default_value: int | None = None,
    dtype: CategoryType | str = str,
) -> SequenceCategoricalColumn:
    """Sequences of categories of a file (tf.feature_column.sequence_categorical_column_with_vocabulary_file).

    The feature is [batch, steps], or sparse, nested or ragged; "" and -1 in ordinary tensors pad. The arguments are
    those of `categorical_column_with_vocabulary_file`, in another order.
    """
    column = categorical_column_with_vocabulary_file(
        key, vocabulary_file, vocabulary_size, dtype, default_value, num_oov_buckets
    )
    return SequenceCategoricalColumn(column)


def sequence_categorical_column_with_vocabulary_list(
    key: str,
    vocabulary_list: Sequence[Any],
    dtype: CategoryType | str | None = None,
    default_value: int = -1,
    num_oov_buckets: int = 0,
) -> SequenceCategoricalColumn:
    """Sequences of listed categories (tf.feature_column.sequence_categorical_column_with_vocabulary_list).

    The feature is [batch, steps], or sparse, nested or ragged; "" and -1 in ordinary tensors pad. The arguments are
    those of `categorical_column_with_vocabulary_list`.
    """
    return SequenceCategoricalColumn(
        categorical_column_with_vocabulary_list(key, vocabulary_list, dtype, default_value, num_oov_buckets)
    )
