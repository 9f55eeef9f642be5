"""Linear models over feature columns."""

import os
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from torchestimator import optim
from torchestimator.config import RunConfig
from torchestimator.estimator.canned.arguments import check_head
from torchestimator.estimator.canned.linear_sdca import LinearSDCA
from torchestimator.estimator.canned.logits import linear_logit_fn_builder, record_linear_summaries
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

SCOPE = "linear"


class LinearEstimator(Estimator):
    """A linear model with any head (tf.estimator.LinearEstimator).

    Args:
        head: what the logits mean, such as `te.RegressionHead()`.
        feature_columns: columns that the logits are a weighted sum of.
        model_dir: folder of checkpoints and summaries.
        optimizer: a name ('Ftrl', 'Adagrad', 'Adam', 'RMSProp', 'SGD'; learning rate 0.2), or a function from
            parameters to a torch optimizer, or a `te.experimental.LinearSDCA`. None: Ftrl with
            min(0.2, 1 / sqrt(number of columns)).
        config: a `te.RunConfig`.
        sparse_combiner: how several categories of one column are combined: "sum", "mean" or "sqrtn".
        warm_start_from: weights to start from; see `te.Estimator`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        head: Head,
        feature_columns: Sequence[Any],
        model_dir: str | os.PathLike[str] | None = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        sparse_combiner: Combiner = "sum",
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
    ) -> None:
        check_head(head)
        columns = checked_columns(feature_columns)
        logit_fn = linear_logit_fn_builder(head.logits_dimension, columns, sparse_combiner)
        sdca = None
        if isinstance(optimizer, LinearSDCA):
            sdca = optimizer.for_model(head, columns, sparse_combiner)
            optimizer_fn = sdca.optimizer_fn
        elif optimizer is None:
            optimizer_fn = optim.get("Ftrl", default_rates.linear_rate(len(columns)))
        else:
            optimizer_fn = optim.get(optimizer, default_rates.LINEAR)

        def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            cache = FeatureTransformationCache(features)
            with name_scope(SCOPE):
                logits: Tensor = logit_fn(cache)
            if mode == ModeKeys.TRAIN:
                record_linear_summaries(f"{SCOPE}/")
                if sdca is not None:
                    sdca.take(f"{SCOPE}/", cache, logits, features, labels)
            return head.create_estimator_spec(features, mode, logits, labels, optimizer_fn)

        super().__init__(model_fn, model_dir, config, warm_start_from=warm_start_from)


class LinearClassifier(LinearEstimator):
    """A linear classifier (tf.estimator.LinearClassifier).

    Args:
        feature_columns: see `te.LinearEstimator`.
        model_dir: likewise.
        n_classes: number of classes; labels are ids below it.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        label_vocabulary: label strings, if labels are strings: their ids are their places in it.
        optimizer: see `te.LinearEstimator`.
        config: likewise.
        warm_start_from: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        sparse_combiner: see `te.LinearEstimator`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        feature_columns: Sequence[Any],
        model_dir: str | os.PathLike[str] | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        sparse_combiner: Combiner = "sum",
    ) -> None:
        head = binary_or_multi_class_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        super().__init__(head, feature_columns, model_dir, optimizer, config, sparse_combiner, warm_start_from)


class LinearRegressor(LinearEstimator):
    """A linear regression (tf.estimator.LinearRegressor).

    Args:
        feature_columns: see `te.LinearEstimator`.
        model_dir: likewise.
        label_dimension: numbers to predict per example.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        optimizer: see `te.LinearEstimator`.
        config: likewise.
        warm_start_from: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".
        sparse_combiner: see `te.LinearEstimator`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        feature_columns: Sequence[Any],
        model_dir: str | os.PathLike[str] | None = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        warm_start_from: str | os.PathLike[str] | WarmStartSettings | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        sparse_combiner: Combiner = "sum",
    ) -> None:
        head = RegressionHead(label_dimension, weight_column, loss_reduction)
        super().__init__(head, feature_columns, model_dir, optimizer, config, sparse_combiner, warm_start_from)
