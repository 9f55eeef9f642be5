"""input_layer and linear_model: the layers as functions of a model_fn, as TensorFlow 1 had them."""

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from torch import Tensor, nn

from torchestimator.feature_column.column import FeatureColumn
from torchestimator.feature_column.dense_features import DenseFeatures
from torchestimator.feature_column.embedding_lookup import Combiner
from torchestimator.feature_column.layer import ColumnLayer, checked_columns
from torchestimator.feature_column.linear_model import LinearModel
from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.model.frame import get_module

L = TypeVar("L", bound=ColumnLayer)

ColumnVariables = MutableMapping[Any, list[nn.Parameter]]


def input_layer(
    features: Mapping[str, Any] | FeatureTransformationCache,
    feature_columns: Any,
    weight_collections: None = None,
    trainable: bool = True,
    cols_to_vars: ColumnVariables | None = None,
    cols_to_output_tensors: MutableMapping[FeatureColumn, Tensor] | None = None,
) -> Tensor:
    """The module "input_layer", a DenseFeatures of the columns, applied to features
    (tf.compat.v1.feature_column.input_layer).

    For use in a model_fn; elsewhere, make a `DenseFeatures`. Calls within one name scope share their weights, so other
    columns need another: `with te.name_scope("tower"): ...`.

    Args:
        features: values by name.
        feature_columns: numeric, bucketized, indicator and embedding columns.
        weight_collections: only None; there are no collections.
        trainable: whether training changes the weights.
        cols_to_vars: takes in the parameters of each column.
        cols_to_output_tensors: takes in the values of each column.

    Returns:
        [batch, width].

    Raises:
        RuntimeError: outside of a model_fn.
        ValueError: an earlier call in this scope was for other columns, or `weight_collections` is given.
    """
    columns = checked_columns(feature_columns)
    _refuse_collections(weight_collections)

    def make() -> DenseFeatures:
        layer = DenseFeatures(columns)
        return layer if trainable else layer.requires_grad_(False)

    layer = _layer("input_layer", make, columns)
    if cols_to_vars is not None:
        cols_to_vars.update(layer.variables())
    result: Tensor = layer(features, cols_to_output_tensors)
    return result


def linear_model(
    features: Mapping[str, Any] | FeatureTransformationCache,
    feature_columns: Any,
    units: int = 1,
    sparse_combiner: Combiner = "sum",
    weight_collections: None = None,
    trainable: bool = True,
    cols_to_vars: ColumnVariables | None = None,
) -> Tensor:
    """The module "linear_model", a LinearModel of the columns, applied to features
    (tf.compat.v1.feature_column.linear_model).

    For use in a model_fn; elsewhere, make a `LinearModel`. Calls within one name scope share their weights, so other
    columns need another: `with te.name_scope("tower"): ...`.

    Args:
        features: values by name.
        feature_columns: categorical and dense columns.
        units: how many sums.
        sparse_combiner: how the weights of several categories of an example become one.
        weight_collections: only None; there are no collections.
        trainable: whether training changes the weights.
        cols_to_vars: takes in the parameters of each column, and under "bias" the bias.

    Returns:
        [batch, units].

    Raises:
        RuntimeError: outside of a model_fn.
        ValueError: an earlier call in this scope was for other columns, or `weight_collections` is given.
    """
    columns = checked_columns(feature_columns)
    _refuse_collections(weight_collections)
    layer = _layer("linear_model", lambda: LinearModel(columns, units, sparse_combiner, trainable), columns)
    if cols_to_vars is not None:
        cols_to_vars.update(layer.variables())
        cols_to_vars["bias"] = [layer.bias_weights]
    result: Tensor = layer(features)
    return result


def _layer(name: str, make: Callable[[], L], columns: list[FeatureColumn]) -> L:
    layer = get_module(name, make)
    asked = sorted(column.name for column in columns)
    found = [column.name for column in layer.feature_columns]
    if asked != found:
        raise ValueError(
            f"This scope has a module {name!r} of other columns. Received: {asked}, after {found}. "
            f'Give this one a scope of its own: with te.name_scope("tower"): {name}(...)'
        )
    return layer


def _refuse_collections(weight_collections: object) -> None:
    if weight_collections is not None:
        raise ValueError(
            "`weight_collections` can only be None: there are no collections, a model's parameters are those of its "
            f"modules. Received: {weight_collections!r}. Leave it out."
        )
