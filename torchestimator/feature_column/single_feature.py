"""Categorical columns of one feature, by the values of that feature alone."""

from abc import abstractmethod

from torch import Tensor

from torchestimator.feature_column.category_type import CategoryType, check_likely_strings
from torchestimator.feature_column.column import CategoricalColumn, ParseSpec
from torchestimator.feature_column.feature_values import FeatureValues
from torchestimator.feature_column.transformation import CategoryIds, FeatureView
from torchestimator.io.feature_spec import VarLenFeature


class SingleFeatureColumn(CategoricalColumn):
    """A categorical column of one feature. Subclasses are dataclasses with these two fields."""

    key: str
    """The feature."""
    dtype: CategoryType
    """What it holds: torch.int64 or `str`."""

    @property
    def name(self) -> str:
        return self.key

    @property
    def parse_example_spec(self) -> ParseSpec:
        return {self.key: VarLenFeature(self.dtype)}

    def check(self, view: FeatureView) -> None:
        if self.dtype is str:
            check_likely_strings(view.cache.values(self.key).values, self.key)

    def identify(self, view: FeatureView) -> CategoryIds:
        return self.ids_of(view.cache.categories(self.key, self.dtype), view.tables(self))

    @abstractmethod
    def ids_of(self, categories: FeatureValues, tables: tuple[Tensor, ...]) -> CategoryIds:
        """The ids of values.

        Args:
            categories: [batch, k] int64, fingerprints of strings or numbers.
            tables: what `tables` gave, on the device of the values.
        """
