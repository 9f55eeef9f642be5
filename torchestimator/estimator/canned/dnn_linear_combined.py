"""Wide and deep: a linear model and a feed-forward network, trained together (Cheng et al. 2016)."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from torchestimator import optim
from torchestimator.config import RunConfig
from torchestimator.estimator.canned import dnn, linear
from torchestimator.estimator.canned.arguments import check_head, layer_sizes
from torchestimator.estimator.canned.logits import (
    Activation,
    dnn_logit_fn_builder,
    linear_logit_fn_builder,
    record_logits,
)
from torchestimator.estimator.estimator import Estimator
from torchestimator.estimator.warm_start import WarmStartSettings
from torchestimator.feature_column.embedding_lookup import Combiner
from torchestimator.feature_column.layer import checked_columns
from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.head import Head, RegressionHead, binary_or_multi_class_head
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.mode_keys import ModeKeys
from torchestimator.model.frame import name_scope
from torchestimator.optim import default_rates
from torchestimator.spec import EstimatorSpec
from torchestimator.train_op.description import Group, Minimize, OptimizerFn, group, minimize


class DNNLinearCombinedEstimator(Estimator):
    """A linear model and a feed-forward network whose logits are added, with any head.

    The counterpart of tf.estimator.DNNLinearCombinedEstimator. Each part has an optimizer of its own.

    Args:
        head: what the logits mean.
        model_dir: folder of checkpoints and summaries.
        linear_feature_columns: columns of the linear model; None: there is none.
        linear_optimizer: a name ('Ftrl', 'Adagrad', 'Adam', 'RMSProp', 'SGD'; learning rate min(0.005, 1 / sqrt(number
            of linear columns))), or a function from parameters to a torch optimizer.
        dnn_feature_columns: dense columns of the network; None: there is none.
        dnn_optimizer: likewise (learning rate 0.001).
        dnn_hidden_units: sizes of the network's hidden layers.
        dnn_activation_fn: of the hidden layers; None: linear.
        dnn_dropout: share of each hidden layer's outputs that is dropped in training.
        config: a `te.RunConfig`.
        batch_norm: whether each hidden layer ends with batch normalisation.
        linear_sparse_combiner: how several categories of one linear column are combined.
        warm_start_from: weights to start from; see `te.Estimator`.

    Raises:
        ValueError: an argument is missing or out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        head: Head,
        model_dir: str | os.PathLike[str] | None = None,
        linear_feature_columns: Sequence[Any] | None = None,
        linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Sequence[Any] | None = None,
        dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None,
        dnn_activation_fn: Activation | None = F.relu,
        dnn_dropout: float | None = None,
        config: RunConfig | None = None,
        batch_norm: bool = False,
        linear_sparse_combiner: Combiner = "sum",
        *,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
    ) -> None:
        check_head(head)
        hidden_units = [] if dnn_hidden_units is None else layer_sizes(dnn_hidden_units, "dnn_hidden_units")
        _check_parts(linear_feature_columns, dnn_feature_columns, hidden_units)
        units = head.logits_dimension
        wide: Callable[[Any], Tensor] | None = None
        deep: Callable[[Any, str], Tensor] | None = None
        optimizers: dict[str, OptimizerFn] = {}
        if dnn_feature_columns:
            deep = dnn_logit_fn_builder(
                units, hidden_units, dnn_feature_columns, dnn_activation_fn, dnn_dropout, batch_norm=batch_norm
            )
            optimizers[dnn.SCOPE] = optim.get(dnn_optimizer, default_rates.COMBINED_DNN)
        if linear_feature_columns:
            columns = checked_columns(linear_feature_columns)
            wide = linear_logit_fn_builder(units, columns, linear_sparse_combiner)
            rate = default_rates.combined_linear_rate(len(columns))
            optimizers[linear.SCOPE] = optim.get(linear_optimizer, rate)

        def train_op_fn(loss: Tensor) -> Minimize | Group:
            parts = [minimize(loss, make, var_list=f"{scope}/") for scope, make in optimizers.items()]
            return parts[0] if len(parts) == 1 else group(*parts)

        def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            shared = FeatureTransformationCache(features)
            logits: Tensor | None = None
            if deep is not None:
                with name_scope(dnn.SCOPE):
                    logits = deep(shared, mode)
            if wide is not None:
                with name_scope(linear.SCOPE):
                    linear_logits = wide(shared)
                    if mode == ModeKeys.TRAIN:
                        record_logits(linear_logits)
                logits = linear_logits if logits is None else logits + linear_logits
            return head.create_estimator_spec(features, mode, logits, labels, train_op_fn=train_op_fn)

        super().__init__(model_fn, model_dir, config, warm_start_from=warm_start_from)


class DNNLinearCombinedClassifier(DNNLinearCombinedEstimator):
    """A wide-and-deep classifier (tf.estimator.DNNLinearCombinedClassifier).

    Args:
        model_dir: see `te.DNNLinearCombinedEstimator`.
        linear_feature_columns: likewise.
        linear_optimizer: likewise.
        dnn_feature_columns: likewise.
        dnn_optimizer: likewise.
        dnn_hidden_units: likewise.
        dnn_activation_fn: likewise.
        dnn_dropout: likewise.
        n_classes: number of classes; labels are ids below it.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        label_vocabulary: label strings, if labels are strings: their ids are their places in it.
        config: see `te.DNNLinearCombinedEstimator`.
        warm_start_from: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        batch_norm: see `te.DNNLinearCombinedEstimator`.
        linear_sparse_combiner: likewise.

    Raises:
        ValueError: an argument is missing or out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str] | None = None,
        linear_feature_columns: Sequence[Any] | None = None,
        linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Sequence[Any] | None = None,
        dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None,
        dnn_activation_fn: Activation | None = F.relu,
        dnn_dropout: float | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        batch_norm: bool = False,
        linear_sparse_combiner: Combiner = "sum",
    ) -> None:
        super().__init__(
            binary_or_multi_class_head(n_classes, weight_column, label_vocabulary, loss_reduction),
            model_dir,
            linear_feature_columns,
            linear_optimizer,
            dnn_feature_columns,
            dnn_optimizer,
            dnn_hidden_units,
            dnn_activation_fn,
            dnn_dropout,
            config,
            batch_norm,
            linear_sparse_combiner,
            warm_start_from=warm_start_from,
        )


class DNNLinearCombinedRegressor(DNNLinearCombinedEstimator):
    """A wide-and-deep regression (tf.estimator.DNNLinearCombinedRegressor).

    Args:
        model_dir: see `te.DNNLinearCombinedEstimator`.
        linear_feature_columns: likewise.
        linear_optimizer: likewise.
        dnn_feature_columns: likewise.
        dnn_optimizer: likewise.
        dnn_hidden_units: likewise.
        dnn_activation_fn: likewise.
        dnn_dropout: likewise.
        label_dimension: numbers to predict per example.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        config: see `te.DNNLinearCombinedEstimator`.
        warm_start_from: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        batch_norm: see `te.DNNLinearCombinedEstimator`.
        linear_sparse_combiner: likewise.

    Raises:
        ValueError: an argument is missing or out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str] | None = None,
        linear_feature_columns: Sequence[Any] | None = None,
        linear_optimizer: Any = "Ftrl",
        dnn_feature_columns: Sequence[Any] | None = None,
        dnn_optimizer: Any = "Adagrad",
        dnn_hidden_units: Sequence[int] | None = None,
        dnn_activation_fn: Activation | None = F.relu,
        dnn_dropout: float | None = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        batch_norm: bool = False,
        linear_sparse_combiner: Combiner = "sum",
    ) -> None:
        super().__init__(
            RegressionHead(label_dimension, weight_column, loss_reduction),
            model_dir,
            linear_feature_columns,
            linear_optimizer,
            dnn_feature_columns,
            dnn_optimizer,
            dnn_hidden_units,
            dnn_activation_fn,
            dnn_dropout,
            config,
            batch_norm,
            linear_sparse_combiner,
            warm_start_from=warm_start_from,
        )


def _check_parts(linear_columns: Any, dnn_columns: Any, hidden_units: list[int]) -> None:
    if not linear_columns and not dnn_columns:
        raise ValueError("`linear_feature_columns`, `dnn_feature_columns` or both are needed. Received: neither.")
    if dnn_columns and not hidden_units:
        raise ValueError(
            "`dnn_feature_columns` need `dnn_hidden_units`. Received: none. Write: dnn_hidden_units=[64, 32]"
        )
    if hidden_units and not dnn_columns:
        raise ValueError(
            "`dnn_hidden_units` need `dnn_feature_columns`. "
            f"Received: dnn_hidden_units={hidden_units!r} and no columns."
        )
