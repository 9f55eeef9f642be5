"""Logits of feature columns: the linear model and the feed-forward network."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator import summary
from torchestimator.estimator.canned.arguments import layer_sizes, whole_number
from torchestimator.estimator.canned.layers import BatchNormalization, Dense
from torchestimator.feature_column import DenseFeatures, LinearModel
from torchestimator.feature_column.dense_features import dense_columns
from torchestimator.feature_column.embedding import check_combiner
from torchestimator.feature_column.embedding_lookup import Combiner
from torchestimator.feature_column.linear_model import linear_columns
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.arguments import named_arguments
from torchestimator.model.frame import get_module, name_scope

Features = Any
"""A dict of features by name, or a FeatureTransformationCache of one, which several functions may share."""

Activation = Callable[[Tensor], Tensor]


def linear_logit_fn_builder(
    units: int, feature_columns: Sequence[Any], sparse_combiner: Combiner = "sum"
) -> Callable[[Features], Tensor]:
    """A function from features to the logits of a linear model, for a model_fn of one's own.

    Args:
        units: number of logits.
        feature_columns: columns that the logits are a weighted sum of.
        sparse_combiner: how several categories of one column are combined: "sum", "mean" or "sqrtn".

    Returns:
        Function of features that returns logits [batch, units]; it asks for the module "linear_model".
    """
    columns = linear_columns(feature_columns)
    units = whole_number(units, "units")
    check_combiner(sparse_combiner, "sparse_combiner")

    def linear_logit_fn(features: Features) -> Tensor:
        model = get_module("linear_model", lambda: LinearModel(columns, units=units, sparse_combiner=sparse_combiner))
        logits: Tensor = model(features)
        return logits

    return linear_logit_fn


def dnn_logit_fn_builder(
    units: int,
    hidden_units: Sequence[int],
    feature_columns: Sequence[Any],
    activation_fn: Activation | None = F.relu,
    dropout: float | None = None,
    input_layer_partitioner: None = None,
    batch_norm: bool = False,
) -> Callable[[Features, str], Tensor]:
    """A function from features to the logits of a feed-forward network, for a model_fn of one's own.

    Args:
        units: number of logits.
        hidden_units: sizes of the hidden layers, from the inputs on.
        feature_columns: dense columns, which are concatenated in the order of their names.
        activation_fn: of the hidden layers; None: linear.
        dropout: share of each hidden layer's outputs that is dropped in training.
        input_layer_partitioner: has no counterpart and must stay None.
        batch_norm: whether each hidden layer is followed by batch normalisation.

    Returns:
        Function of features and mode that returns logits [batch, units].
    """
    if input_layer_partitioner is not None:
        raise ValueError(
            "`input_layer_partitioner` has no counterpart: tables are not cut into parts. Remove the argument."
        )
    columns = dense_columns(feature_columns)
    units = whole_number(units, "units")
    sizes = layer_sizes(hidden_units)
    if dropout is not None and not (isinstance(dropout, Real) and 0 <= dropout < 1):
        raise ValueError(f"`dropout` must be a number at least 0 and below 1. Received: {dropout!r}.")
    if activation_fn is not None and not callable(activation_fn):
        raise TypeError(f"`activation_fn` must be a function such as torch.relu. Received: {activation_fn!r}.")

    def dnn_logit_fn(features: Features, mode: str) -> Tensor:
        hidden: Tensor = get_module("input_from_feature_columns/input_layer", lambda: DenseFeatures(columns))(features)
        for index, size in enumerate(sizes):
            hidden = _hidden_layer(f"hiddenlayer_{index}", hidden, size, index)
            if mode == ModeKeys.TRAIN:
                _record_layer(f"hiddenlayer_{index}", hidden)
        logits: Tensor = get_module("logits", lambda: Dense(hidden.shape[1], units))(hidden)
        if mode == ModeKeys.TRAIN:
            _record_layer("logits", logits)
        return logits

    def _hidden_layer(name: str, inputs: Tensor, size: int, index: int) -> Tensor:
        layer = get_module(name, lambda: Dense(inputs.shape[1], size))
        outputs: Tensor = layer(inputs)
        if activation_fn is not None:
            outputs = activation_fn(outputs)
        if dropout:
            outputs = F.dropout(outputs, dropout, training=layer.training)
        if batch_norm:
            with name_scope(name):
                outputs = get_module(f"batchnorm_{index}", lambda: BatchNormalization(size))(outputs)
        return outputs

    return dnn_logit_fn


def call_logit_fn(
    logit_fn: Callable[..., Any],
    features: Features,
    mode: str,
    params: Mapping[str, Any] | None = None,
    config: Any = None,
) -> Tensor | dict[Any, Tensor]:
    """Calls a logit function with those of `mode`, `params` and `config` that it takes.

    Args:
        logit_fn: function of `features` that returns logits, or a dict of logits by head name.
        features: passed on.
        mode: likewise.
        params: likewise.
        config: likewise.

    Raises:
        ValueError: it returns something else.
    """
    taken = named_arguments(logit_fn, "logit_fn")
    offered = {"mode": mode, "params": params, "config": config}
    logits = logit_fn(features=features, **{name: value for name, value in offered.items() if name in taken})
    if isinstance(logits, Tensor):
        return logits
    if isinstance(logits, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in logits.items()
    ):
        return dict(logits)
    raise ValueError(f"`logit_fn` must return a tensor, or a dict of tensors by head name. Received: {logits!r}.")


def record_linear_summaries(prefix: str = "") -> None:
    """Records the bias of the linear model and the share of its weights that are zero."""
    if not summary.should_record_summaries():
        return
    model = get_module(f"{prefix}linear_model", _never_made)
    weights = [parameter for name, parameter in model.named_parameters() if not name.endswith("bias_weights")]
    bias = next(parameter for name, parameter in model.named_parameters() if name.endswith("bias_weights"))
    if bias.numel() == 1:
        summary.scalar("bias", bias)
    else:
        summary.histogram("bias", bias)
    zeros = sum((weight == 0).sum() for weight in weights)
    summary.scalar("fraction_of_zero_weights", zeros / max(1, sum(weight.numel() for weight in weights)))


def record_logits(logits: Tensor) -> None:
    """Records the share of zeros among logits, and how they are spread."""
    if summary.should_record_summaries():
        summary.scalar("fraction_of_zero_values", (logits == 0).float().mean())
        summary.histogram("activation", logits)


def _record_layer(name: str, values: Tensor) -> None:
    if summary.should_record_summaries():
        summary.scalar(f"{name}/fraction_of_zero_values", (values == 0).float().mean())
        summary.histogram(f"{name}/activation", values)


def _never_made() -> torch.nn.Module:
    raise AssertionError("The module exists already.")
