"""Feed-forward networks over feature columns."""

import os
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F

from torchestimator import optim
from torchestimator.config import RunConfig
from torchestimator.estimator.canned.arguments import check_head
from torchestimator.estimator.canned.logits import Activation, dnn_logit_fn_builder
from torchestimator.estimator.estimator import Estimator
from torchestimator.estimator.warm_start import WarmStartSettings
from torchestimator.feature_column.transformation import FeatureTransformationCache
from torchestimator.head import Head, RegressionHead, binary_or_multi_class_head
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.model.frame import name_scope
from torchestimator.optim import default_rates
from torchestimator.spec import EstimatorSpec

SCOPE = "dnn"


class DNNEstimator(Estimator):
    """A feed-forward network with any head (tf.estimator.DNNEstimator).

    Each hidden layer is dense, activation, dropout, batch normalisation, in this order.

    Args:
        head: what the logits mean, such as `te.MultiLabelHead(n_classes=3)`.
        hidden_units: sizes of the hidden layers, from the inputs on.
        feature_columns: dense columns: numeric, bucketized, embedding, indicator.
        model_dir: folder of checkpoints and summaries.
        optimizer: a name ('Adagrad', 'Adam', 'Ftrl', 'RMSProp', 'SGD'; learning rate 0.001, SGD 0.01), or a
            function from parameters to a torch optimizer.
        activation_fn: of the hidden layers; None: linear.
        dropout: share of each hidden layer's outputs that is dropped in training.
        config: a `te.RunConfig`.
        warm_start_from: weights to start from; see `te.Estimator`.
        batch_norm: whether each hidden layer ends with batch normalisation.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        head: Head,
        hidden_units: Sequence[int],
        feature_columns: Sequence[Any],
        model_dir: str | os.PathLike[str] | None = None,
        optimizer: Any = "Adagrad",
        activation_fn: Activation | None = F.relu,
        dropout: float | None = None,
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        batch_norm: bool = False,
    ) -> None:
        check_head(head)
        logit_fn = dnn_logit_fn_builder(
            head.logits_dimension, hidden_units, feature_columns, activation_fn, dropout, batch_norm=batch_norm
        )
        optimizer_fn = optim.get(optimizer, default_rates.DNN)

        def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            with name_scope(SCOPE):
                logits = logit_fn(FeatureTransformationCache(features), mode)
            return head.create_estimator_spec(features, mode, logits, labels, optimizer_fn)

        super().__init__(model_fn, model_dir, config, warm_start_from=warm_start_from)


class DNNClassifier(DNNEstimator):
    """A feed-forward classifier (tf.estimator.DNNClassifier).

    Args:
        hidden_units: see `te.DNNEstimator`.
        feature_columns: likewise.
        model_dir: likewise.
        n_classes: number of classes; labels are ids below it.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        label_vocabulary: label strings, if labels are strings: their ids are their places in it.
        optimizer: see `te.DNNEstimator`.
        activation_fn: likewise.
        dropout: likewise.
        config: likewise.
        warm_start_from: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        batch_norm: see `te.DNNEstimator`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        feature_columns: Sequence[Any],
        model_dir: str | os.PathLike[str] | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        optimizer: Any = "Adagrad",
        activation_fn: Activation | None = F.relu,
        dropout: float | None = None,
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(
            binary_or_multi_class_head(n_classes, weight_column, label_vocabulary, loss_reduction),
            hidden_units,
            feature_columns,
            model_dir,
            optimizer,
            activation_fn,
            dropout,
            config,
            warm_start_from,
            batch_norm,
        )


class DNNRegressor(DNNEstimator):
    """A feed-forward regression (tf.estimator.DNNRegressor).

    Args:
        hidden_units: see `te.DNNEstimator`.
        feature_columns: likewise.
        model_dir: likewise.
        label_dimension: numbers to predict per example.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        optimizer: see `te.DNNEstimator`.
        activation_fn: likewise.
        dropout: likewise.
        config: likewise.
        warm_start_from: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        batch_norm: see `te.DNNEstimator`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        hidden_units: Sequence[int],
        feature_columns: Sequence[Any],
        model_dir: str | os.PathLike[str] | None = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Adagrad",
        activation_fn: Activation | None = F.relu,
        dropout: float | None = None,
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(
            RegressionHead(label_dimension, weight_column, loss_reduction),
            hidden_units,
            feature_columns,
            model_dir,
            optimizer,
            activation_fn,
            dropout,
            config,
            warm_start_from,
            batch_norm,
        )
