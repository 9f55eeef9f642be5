"""The contracts of feature columns: what the layers ask them for.

A column is a frozen description: names, numbers, no tensors. The layers (`DenseFeatures`, `LinearModel`,
`SequenceFeatures`) hold weights and constants, and ask their columns for tensors.
"""

import hashlib
from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, nn

from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.io.feature_spec import FixedLenFeature, VarLenFeature

ParseSpec: TypeAlias = dict[str, FixedLenFeature | VarLenFeature]
"""How the features of a column are decoded from tf.Examples."""


class FeatureColumn(ABC):
    """Any column."""

    @property
    @abstractmethod
    def name(self) -> str:
        """TensorFlow's name of the column, which orders the columns of a layer and names their weights."""

    @property
    @abstractmethod
    def parse_example_spec(self) -> ParseSpec:
        """The features that it needs; see `make_parse_example_spec`."""

    @property
    def parents(self) -> tuple["FeatureColumn", ...]:
        """The columns that it is computed from."""
        return ()

    @property
    def is_sequence(self) -> bool:
        """Whether it is for `SequenceFeatures`."""
        return any(parent.is_sequence for parent in self.parents)

    @cached_property
    def identity(self) -> bytes:
        """The same for equal columns; a digest, since comparing vocabularies costs too much in every step."""
        return hashlib.sha256(repr(self).encode()).digest()

    def tables(self) -> tuple[Tensor, ...]:
        """The constants that it computes with; a layer keeps them on its device."""
        return ()

    def check(self, view: FeatureView) -> None:
        """Looks closer at a first batch than there is time for in every step.

        Raises:
            TypeError: the feature seems to be something else than the column takes it for.
        """
        for parent in self.parents:
            parent.check(view)


class CategoricalColumn(FeatureColumn):
    """A column of categories: each value of a feature is one of `num_buckets` ids."""

    @property
    @abstractmethod
    def num_buckets(self) -> int:
        """How many ids there are: 0 to `num_buckets` - 1."""

    @abstractmethod
    def identify(self, view: FeatureView) -> CategoryIds:
        """The ids of a batch. Layers ask `view.ids(column)`, which computes them once."""


class DenseColumn(FeatureColumn):
    """A column of a fixed number of values per example, which layers can compute with."""

    @property
    @abstractmethod
    def variable_shape(self) -> tuple[int, ...]:
        """Shape of the values of one example."""

    @abstractmethod
    def dense_tensor(self, view: FeatureView, weights: nn.Module | None) -> Tensor:
        """The values of a batch.

        Args:
            view: the batch.
            weights: what `make_weights` made.

        Returns:
            [batch, values], or [batch, *variable_shape].
        """

    def make_weights(self) -> nn.Module | None:
        """The module with the weights that the column has of its own; None: it has none."""
        return None

    @property
    def weights_name(self) -> str:
        """The name of that module in a layer."""
        return self.name


class Sequence(NamedTuple):
    """The values of a sequence column for a batch."""

    values: Tensor
    """[batch, steps, ...]."""
    lengths: Tensor
    """[batch] int64: the steps of each example."""


class SequenceColumn(ABC):
    """What a column is able to do for `SequenceFeatures`: an aspect of a `FeatureColumn`."""

    @abstractmethod
    def sequence_tensor(self, view: FeatureView, weights: nn.Module | None) -> Sequence:
        """The values of a batch, step by step, zero where there are none; the arguments are as of `dense_tensor`."""


def check_key(key: Any, function: str) -> str:
    """A feature's name as given by the user.

    Raises:
        TypeError: it is no string.
    """
    if not isinstance(key, str):
        raise TypeError(f"`key` of {function} must be the name of a feature. Received: {key!r}.")
    return key
