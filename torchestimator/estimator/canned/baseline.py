"""Baselines: models that ignore the features and learn the mean of the labels."""

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from torchestimator import optim
from torchestimator.config import RunConfig
from torchestimator.estimator.canned.arguments import check_head
from torchestimator.estimator.estimator import Estimator
from torchestimator.head import Head, RegressionHead, binary_or_multi_class_head
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.inputs.batch import batch_size_of
from torchestimator.model.frame import get_parameter
from torchestimator.optim import default_rates
from torchestimator.spec import EstimatorSpec

BIAS = "baseline/bias"


class BaselineEstimator(Estimator):
    """The same logits for every example, with any head (tf.estimator.BaselineEstimator).

    What a model must beat: it predicts the mean of the labels, or their shares.

    Args:
        head: what the logits mean.
        model_dir: folder of checkpoints and summaries.
        optimizer: a name ('Ftrl', 'Adagrad', 'Adam', 'RMSProp', 'SGD'; learning rate 0.3), or a function from
            parameters to a torch optimizer.
        config: a `te.RunConfig`.

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        head: Head,
        model_dir: str | os.PathLike[str] | None = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
    ) -> None:
        check_head(head)
        units = head.logits_dimension
        optimizer_fn = optim.get(optimizer, default_rates.BASELINE)

        def model_fn(features: Any, labels: Any, mode: str) -> EstimatorSpec:
            bias: Tensor = get_parameter(BIAS, lambda: torch.zeros(units))
            logits = bias.expand(batch_size_of(features), units)
            return head.create_estimator_spec(features, mode, logits, labels, optimizer_fn)

        super().__init__(model_fn, model_dir, config)


class BaselineClassifier(BaselineEstimator):
    """Predicts the shares of the classes (tf.estimator.BaselineClassifier).

    Args:
        model_dir: see `te.BaselineEstimator`.
        n_classes: number of classes; labels are ids below it.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        label_vocabulary: label strings, if labels are strings: their ids are their places in it.
        optimizer: see `te.BaselineEstimator`.
        config: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str] | None = None,
        n_classes: int = 2,
        weight_column: Any = None,
        label_vocabulary: Sequence[str] | None = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
    ) -> None:
        head = binary_or_multi_class_head(n_classes, weight_column, label_vocabulary, loss_reduction)
        super().__init__(head, model_dir, optimizer, config)


class BaselineRegressor(BaselineEstimator):
    """Predicts the mean of the labels (tf.estimator.BaselineRegressor).

    Args:
        model_dir: see `te.BaselineEstimator`.
        label_dimension: numbers to predict per example.
        weight_column: the feature that holds each example's weight, by name or as a numeric column.
        optimizer: see `te.BaselineEstimator`.
        config: likewise.
        loss_reduction: how the losses of a batch become one: "sum_over_batch_size" or "sum".

    Raises:
        ValueError: an argument is out of range.
        TypeError: an argument is of the wrong type.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str] | None = None,
        label_dimension: int = 1,
        weight_column: Any = None,
        optimizer: Any = "Ftrl",
        config: RunConfig | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
    ) -> None:
        super().__init__(RegressionHead(label_dimension, weight_column, loss_reduction), model_dir, optimizer, config)
