"""categorical_column_with_vocabulary_file: categories that a file lists."""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchestimator.feature_column.category_type import CategoryType, category_type
from torchestimator.feature_column.column import check_key
from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.single_feature import SingleFeatureColumn
from torchestimator.feature_column.transformation import CategoryIds
from torchestimator.feature_column.vocabulary_list import check_other_values, duplicates
from torchestimator.feature_column.vocabulary_table import look_up, vocabulary_tables


@dataclass(frozen=True)
class VocabularyFileCategoricalColumn(SingleFeatureColumn):
    """Categories of a file; see `categorical_column_with_vocabulary_file`."""

    key: str
    """The feature."""
    vocabulary_file: str
    """A text file, one category in each line."""
    vocabulary_size: int
    """How many of its lines count."""
    dtype: CategoryType
    """torch.int64 or `str`."""
    default_value: int
    """The id of values that are not listed; -1: none."""
    num_oov_buckets: int
    """How many further ids are for values that are not listed, by their hash."""

    @property
    def num_buckets(self) -> int:
        return self.vocabulary_size + self.num_oov_buckets

    def tables(self) -> tuple[Tensor, ...]:
        words = _read(self.vocabulary_file, self.vocabulary_size, self.dtype)
        return vocabulary_tables(words, self.dtype, f"`vocabulary_file` {self.vocabulary_file!r}")

    def ids_of(self, categories: FeatureValues, tables: tuple[Tensor, ...]) -> CategoryIds:
        return look_up(
            categories,
            tables,
            self.dtype,
            size=self.vocabulary_size,
            num_oov_buckets=self.num_oov_buckets,
            default_value=self.default_value,
        )


def categorical_column_with_vocabulary_file(
    key: str,
    vocabulary_file: str | os.PathLike[str],
    vocabulary_size: int | None = None,
    dtype: CategoryType | str = str,
    default_value: int | None = None,
    num_oov_buckets: int = 0,
    file_format: str | None = None,
) -> VocabularyFileCategoricalColumn:
    """Categories that a file lists, one in each line: ids are line numbers from 0
    (tf.feature_column.categorical_column_with_vocabulary_file).

    The file is read when the column and when a layer with it is made; a checkpoint or an export does not need it.

    Args:
        key: the feature. "" and, of integers, -1 mean that there is no value, in ordinary tensors.
        vocabulary_file: a UTF-8 text file.
        vocabulary_size: how many of its lines count, from the first on; None: all.
        dtype: `str` or torch.int64.
        default_value: the id of values that are not listed; None or -1: they count as no value.
        num_oov_buckets: how many further ids are for values that are not listed, by their hash.
        file_format: only "text".

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: the key is no string.
        ValueError: the file is empty, too short or has duplicates; or an argument does not fit.
    """
    function = "categorical_column_with_vocabulary_file"
    kind = category_type(dtype, function)
    if file_format not in (None, "text"):
        raise ValueError(
            f"`file_format` of {function} can only be 'text': one category in each line. Received: {file_format!r}."
        )
    size_is_good = vocabulary_size is None or (isinstance(vocabulary_size, int) and vocabulary_size > 0)
    if not size_is_good:
        raise ValueError(
            f"`vocabulary_size` of {function}({key!r}) must be 1 or more, or None for all lines. "
            f"Received: {vocabulary_size!r}."
        )
    path = os.fspath(vocabulary_file)
    size = len(_read(path, vocabulary_size, kind))
    other = -1 if default_value is None else default_value
    check_other_values(key, function, size, other, num_oov_buckets)
    return VocabularyFileCategoricalColumn(check_key(key, function), path, size, kind, other, num_oov_buckets)


def _read(path: str, size: int | None, dtype: CategoryType) -> list[Any]:
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"`vocabulary_file` must be a text file with one category in each line. Received: {path!r}, which is "
            f"{'a folder' if os.path.isdir(path) else 'not there'}. The working directory is {os.getcwd()!r}."
        )
    with open(path, encoding="utf-8", newline="\n") as file:
        lines = file.read().replace("\r", "").split("\n")
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise ValueError(f"`vocabulary_file` must have one or more lines. Received: {path!r}, which is empty.")
    if size is not None and len(lines) < size:
        raise ValueError(
            f"`vocabulary_size` must be no more than the number of lines in the file. Received: {size}, while {path!r} "
            f"has {len(lines)}. Leave it out to use all of them."
        )
    words = lines[:size]
    twice = duplicates(words)
    if twice:
        raise ValueError(f"`vocabulary_file` must list everything once. Received more than once in {path!r}: {twice}.")
    return words if dtype is str else _numbers(words, path)


def _numbers(words: list[str], path: str) -> list[int]:
    numbers = []
    for line, word in enumerate(words, 1):
        try:
            numbers.append(int(word))
        except ValueError:
            raise ValueError(
                f"`vocabulary_file` {path!r} must have a whole number in each line, for a column with dtype "
                f"{torch.int64}. Received: {word!r} in line {line}. For strings pass `dtype=str`."
            ) from None
    return numbers
