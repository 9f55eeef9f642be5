"""shared_embeddings: several categorical columns, such as "watched" and "recommended", with one table of vectors."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torchestimator.feature_column.column import CategoricalColumn
from torchestimator.feature_column.embedding import (
    EmbeddingColumn,
    Initializer,
    check_safe_lookup,
    embedding_options,
)
from torchestimator.feature_column.embedding_lookup import Combiner
from torchestimator.feature_column.weighted import WeightedCategoricalColumn, check_categorical


@dataclass(frozen=True)
class SharedEmbeddingColumn(EmbeddingColumn):
    """Categories as vectors of a table that other columns use too; see `shared_embeddings`."""

    collection_name: str
    """Of the table: a layer has one table for all its columns of one name."""

    @property
    def name(self) -> str:
        return f"{self.categorical_column.name}_shared_embedding"

    @property
    def weights_name(self) -> str:
        return self.collection_name


def shared_embeddings(
    categorical_columns: Sequence[CategoricalColumn],
    dimension: int,
    combiner: Combiner = "mean",
    initializer: Initializer | None = None,
    shared_embedding_collection_name: str | None = None,
    ckpt_to_load_from: str | None = None,
    tensor_name_in_ckpt: str | None = None,
    max_norm: float | None = None,
    trainable: bool = True,
    use_safe_embedding_lookup: bool = True,
) -> list[SharedEmbeddingColumn]:
    """Several categorical columns with one table of vectors (tf.feature_column.shared_embeddings).

    A layer has one table for all the columns made here; two layers have one each.

    Args:
        categorical_columns: of one kind and with equally many ids.
        dimension: size of a vector.
        combiner: see `embedding_column`, as for the following.
        initializer: fills the table in place.
        shared_embedding_collection_name: of the table; None: made of the columns' names.
        ckpt_to_load_from: a checkpoint with the table to start from.
        tensor_name_in_ckpt: its name there.
        max_norm: vectors with a larger L2 norm are scaled down to it.
        trainable: whether training changes the table.
        use_safe_embedding_lookup: only True.

    Returns:
        A column for each of the given ones, in their order.

    Raises:
        TypeError: one is not categorical, or they are of different kinds.
        ValueError: they have different numbers of ids, or an argument is out of range.
    """
    if not isinstance(categorical_columns, Sequence) or not len(categorical_columns):
        raise ValueError(
            f"`categorical_columns` must list one or more categorical columns. Received: {categorical_columns!r}."
        )
    for column in categorical_columns:
        check_categorical(column, "shared_embeddings")
    sizes = {column.name: column.num_buckets for column in categorical_columns}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"Columns can share a table only with equally many ids. Received: {sizes}.")
    kinds = {column.name: type(_unweighted(column)).__name__ for column in categorical_columns}
    if len(set(kinds.values())) > 1:
        raise TypeError(f"Columns can share a table only if they are of one kind. Received: {kinds}.")
    name = shared_embedding_collection_name or f"{'_'.join(sorted(sizes))}_shared_embedding"
    options = embedding_options(
        dimension, combiner, initializer, ckpt_to_load_from, tensor_name_in_ckpt, max_norm, trainable
    )
    check_safe_lookup(use_safe_embedding_lookup)
    return [SharedEmbeddingColumn(column, options, name) for column in categorical_columns]


def _unweighted(column: Any) -> CategoricalColumn:
    found: CategoricalColumn = column.categorical_column if isinstance(column, WeightedCategoricalColumn) else column
    return found
