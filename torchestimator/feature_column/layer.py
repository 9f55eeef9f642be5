"""What the layers over feature columns have in common: their columns in order, constants, and the names of weights."""

import itertools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from torchestimator.feature_column.column import CategoricalColumn, FeatureColumn
from torchestimator.feature_column.joint_crosses import JointCrosses
from torchestimator.feature_column.joint_strings import JointStrings
from torchestimator.feature_column.transformation import (
    ColumnTables,
    FeatureTransformationCache,
    FeatureView,
    with_parents,
)
from torchestimator.tracing import is_tracing


class ColumnLayer(nn.Module):
    """A layer over feature columns.

    Each column with weights has a submodule of its name, so that the names in a state dict are TensorFlow's with dots
    for slashes: `linear/linear_model.age.weights` is the variable `linear/linear_model/age/weights`. As there,
    characters other than letters, digits and "_.-" become "_". Two things can't be had in a module: a dot in a name
    becomes "_" as well, and a name that every module has an attribute of, such as "type", gets a "_" at its end.
    `variable_names` gives TensorFlow's names.

    Args:
        columns: ordered by name in here.
    """

    def __init__(self, columns: Iterable[FeatureColumn]) -> None:
        super().__init__()
        ordered = sorted(columns, key=lambda column: column.name)
        twice = sorted({a.name for a, b in itertools.pairwise(ordered) if a.name == b.name})
        if twice:
            raise ValueError(
                f"`feature_columns` must have different names, which are those of their features. "
                f"Received more than once: {twice}. Is a column in the list twice?"
            )
        self.feature_columns = tuple(ordered)
        self._tables = ColumnTables(ordered)
        categorical = [column for column in with_parents(ordered) if isinstance(column, CategoricalColumn)]
        self._joint_strings = JointStrings(categorical, self._tables)
        self._joint_crosses = JointCrosses(categorical)
        self._places: dict[str, str] = {}
        self._written: dict[str, str] = {}
        self._is_checked = False

    @property
    def variable_names(self) -> dict[str, str]:
        """TensorFlow's name, within the layer, of each entry of the state dict."""
        names = {}
        for entry in self.state_dict():
            place, _, parameter = entry.rpartition(".")
            names[entry] = f"{self._written[place]}/{parameter}" if place else parameter
        return names

    def view(self, features: Mapping[str, Any] | FeatureTransformationCache) -> FeatureView:
        """The batch as the layer's columns see it. The first one is looked at more closely."""
        view = FeatureView(FeatureTransformationCache.of(features), self._tables)
        if not self._is_checked and not is_tracing():
            for column in self.feature_columns:
                column.check(view)
            self._is_checked = True
        if view.cache.is_eager:
            self._joint_strings.identify(view)
            self._joint_crosses.identify(view)
        return view

    def weights_of(self, name: str) -> nn.Module | None:
        """The submodule with the weights of that column name; None: it has none."""
        place = self._places.get(name)
        return None if place is None else self._modules[place]

    def variables(self) -> dict[FeatureColumn, list[nn.Parameter]]:
        """The parameters of each column."""
        found = {}
        for column in self.feature_columns:
            names = dict.fromkeys((column.name, getattr(column, "weights_name", column.name)))
            modules = [self.weights_of(name) for name in names]
            found[column] = [parameter for module in modules if module is not None for parameter in module.parameters()]
        return found

    def add_weights(self, name: str, weights: nn.Module) -> None:
        """Makes a module the submodule with the weights of a column name."""
        written = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)
        place = written.replace(".", "_")
        while hasattr(self, place):
            place += "_"
        self._places[name] = place
        self._written[place] = written
        self.add_module(place, weights)


def checked_columns(feature_columns: Any) -> list[FeatureColumn]:
    """The columns as given by the user: one, or an iterable of them.

    Raises:
        ValueError: there are none.
        TypeError: something else is among them.
    """
    if isinstance(feature_columns, FeatureColumn):
        return [feature_columns]
    if isinstance(feature_columns, str | Mapping) or not isinstance(feature_columns, Iterable):
        raise TypeError(
            "`feature_columns` must be a list of feature columns. "
            f"Received: {feature_columns!r} ({type(feature_columns).__name__})."
        )
    columns = list(feature_columns)
    if not columns:
        raise ValueError("`feature_columns` must have one or more columns. Received: none.")
    for column in columns:
        if not isinstance(column, FeatureColumn):
            hint = f" For numbers write: numeric_column({column!r})" if isinstance(column, str) else ""
            raise TypeError(
                f"`feature_columns` must be feature columns, such as numeric_column(...). Received: {column!r}.{hint}"
            )
    return columns
