"""categorical_column_with_vocabulary_list: categories that are listed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchestimator.feature_column.category_type import CategoryType, category_type
from torchestimator.feature_column.column import check_key
from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.single_feature import SingleFeatureColumn
from torchestimator.feature_column.transformation import CategoryIds
from torchestimator.feature_column.vocabulary_table import look_up, vocabulary_tables


@dataclass(frozen=True)
class VocabularyListCategoricalColumn(SingleFeatureColumn):
    """Listed categories; see `categorical_column_with_vocabulary_list`."""

    key: str
    """The feature."""
    vocabulary_list: tuple[str, ...] | tuple[int, ...]
    """By id."""
    dtype: CategoryType
    """torch.int64 or `str`."""
    default_value: int
    """The id of values that are not listed; -1: none."""
    num_oov_buckets: int
    """How many further ids are for values that are not listed, by their hash."""

    @property
    def num_buckets(self) -> int:
        return len(self.vocabulary_list) + self.num_oov_buckets

    def tables(self) -> tuple[Tensor, ...]:
        return vocabulary_tables(self.vocabulary_list, self.dtype, f"The vocabulary of {self.key!r}")

    def ids_of(self, categories: FeatureValues, tables: tuple[Tensor, ...]) -> CategoryIds:
        return look_up(
            categories,
            tables,
            self.dtype,
            size=len(self.vocabulary_list),
            num_oov_buckets=self.num_oov_buckets,
            default_value=self.default_value,
        )


def categorical_column_with_vocabulary_list(
    key: str,
    vocabulary_list: Sequence[Any],
    dtype: CategoryType | str | None = None,
    default_value: int = -1,
    num_oov_buckets: int = 0,
) -> VocabularyListCategoricalColumn:
    """Categories that are listed: ids are positions (tf.feature_column.categorical_column_with_vocabulary_list).

    Args:
        key: the feature. "" and, of integers, -1 mean that there is no value, in ordinary tensors.
        vocabulary_list: strings or whole numbers.
        dtype: `str` or torch.int64; None: as the list.
        default_value: the id of values that are not listed; -1: they count as no value.
        num_oov_buckets: how many further ids are for values that are not listed, by their hash.

    Raises:
        TypeError: the key is no string, or the list mixes types.
        ValueError: the list is empty or has duplicates; or both kinds of ids for other values are asked for.
    """
    function = "categorical_column_with_vocabulary_list"
    words, found = _checked(vocabulary_list, key)
    kind = found if dtype is None else category_type(dtype, function)
    if kind is not found:
        names = {str: "strings", torch.int64: "whole numbers"}
        raise ValueError(
            f"`dtype` of {function}({key!r}) and its `vocabulary_list` must agree. Received: dtype={dtype!r}, and "
            f"{names[found]}, such as {words[0]!r}."
        )
    check_other_values(key, function, len(words), default_value, num_oov_buckets)
    return VocabularyListCategoricalColumn(check_key(key, function), words, kind, default_value, num_oov_buckets)


def check_other_values(key: str, function: str, size: int, default_value: Any, num_oov_buckets: Any) -> None:
    """Checks what is to become of values outside of a vocabulary.

    Raises:
        ValueError: a number is out of range, or both ways are asked for.
    """
    if not isinstance(num_oov_buckets, int) or num_oov_buckets < 0:
        raise ValueError(
            f"`num_oov_buckets` of {function}({key!r}) must be a whole number, 0 or more. "
            f"Received: {num_oov_buckets!r}."
        )
    if num_oov_buckets and default_value != -1:
        raise ValueError(
            f"`num_oov_buckets` and `default_value` of {function}({key!r}) both say which id a value outside of the "
            f"vocabulary has. Received: num_oov_buckets={num_oov_buckets}, default_value={default_value!r}. "
            "Leave one out."
        )
    if not isinstance(default_value, int) or not -1 <= default_value < size:
        raise ValueError(
            f"`default_value` of {function}({key!r}) must be an id of the vocabulary, 0 to {size - 1}, or -1 for none. "
            f"Received: {default_value!r}."
        )


def duplicates(words: Sequence[Any]) -> list[Any]:
    """Up to three entries that are there more than once."""
    if len(set(words)) == len(words):
        return []
    return [word for word, count in Counter(words).items() if count > 1][:3]


def _checked(vocabulary: Any, key: str) -> tuple[tuple[Any, ...], CategoryType]:
    given = vocabulary.tolist() if isinstance(vocabulary, np.ndarray | Tensor) else vocabulary
    if isinstance(given, str) or not isinstance(given, Sequence) or not len(given):
        raise ValueError(
            f"`vocabulary_list` for {key!r} must list one or more strings or whole numbers. Received: {vocabulary!r}."
        )
    words = tuple(word.decode() if isinstance(word, bytes) else word for word in given)
    are_strings = all(isinstance(word, str) for word in words)
    if not are_strings and not all(isinstance(word, int | np.integer) and not isinstance(word, bool) for word in words):
        raise TypeError(
            f"`vocabulary_list` for {key!r} must be all strings or all whole numbers. Received: "
            f"{sorted({type(word).__name__ for word in words})}."
        )
    twice = duplicates(words)
    if twice:
        raise ValueError(f"`vocabulary_list` for {key!r} must list everything once. Received more than once: {twice}.")
    return (words, str) if are_strings else (tuple(map(int, words)), torch.int64)
