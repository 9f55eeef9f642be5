"""Two classes, one logit."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator import metrics
from torchestimator.export.outputs import (
    DEFAULT_SERVING_SIGNATURE,
    ClassificationOutput,
    ExportOutput,
    PredictOutput,
    RegressionOutput,
)
from torchestimator.head.classes import Classes, LabelVocabulary
from torchestimator.head.example_head import ExampleHead, ScoredBatch
from torchestimator.head.head import (
    CLASSIFICATION_SIGNATURE,
    PREDICT_SIGNATURE,
    REGRESSION_SIGNATURE,
    Predictions,
    selected,
)
from torchestimator.head.labels import dense_labels, numbers_within
from torchestimator.head.loss_function import LossFn
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.threshold_metrics import areas_under_curves, at_thresholds, check_thresholds
from torchestimator.head.weights import WeightColumn
from torchestimator.metrics.aggregation import Mean
from torchestimator.metrics.metric import Metric, divide


class AccuracyBaseline(Mean):
    """The accuracy of always predicting the more frequent class, from the labels alone."""

    def compute(self) -> Tensor:
        """The share of the more frequent class, []; 0 when there was no label."""
        total, count = self.state["total"], self.state["count"]
        return divide(torch.maximum(total, count - total), count.clamp(min=0))


class BinaryClassHead(ExampleHead):
    """Classification into two classes with the sigmoid cross entropy of one logit (tf.estimator.BinaryClassHead).

    Labels [batch] or [batch, 1] are 0 and 1, or anything between for soft labels; with `label_vocabulary`, strings.

    Args:
        weight_column: name of the feature with the weight of each example, or a numeric column of it.
        thresholds: where accuracy, precision and recall are to be measured besides 0.5, between 0 and 1.
        label_vocabulary: names of class 0 and class 1.
        loss_reduction: "sum_over_batch_size" (the weighted sum over the number of examples), "sum" or "auto".
        loss_fn: the loss of each example, [batch, 1], from `labels`, `logits` and, if it likes, `features`.
        name: ends the names of metrics and summaries.

    Raises:
        ValueError: an argument is not allowed.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        weight_column: WeightColumn | None = None,
        thresholds: Sequence[float] | None = None,
        label_vocabulary: LabelVocabulary | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        loss_fn: LossFn | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight_column, loss_reduction, loss_fn, 1, name)
        self._thresholds = check_thresholds(thresholds)
        self._classes = Classes(2, label_vocabulary)

    @property
    def logits_dimension(self) -> int:
        """See `Head.logits_dimension`: 1."""
        return 1

    def predictions(self, logits: Any, keys: Sequence[str] | None = None) -> Predictions:
        """See `Head.predictions`.

        Returns:
            "logits" [batch, 1]; "logistic" [batch, 1], the probability of class 1; "probabilities" [batch, 2] of both;
            "class_ids" [batch, 1] int64, 1 where the logit is above 0; "classes" [batch, 1], their names;
            "all_class_ids" [batch, 2] int32 and "all_classes" [batch, 2], the same in each row.
        """
        logits = self.checked_logits(logits)
        class_ids = (logits > 0).to(torch.int64)
        classes = self._classes
        return selected(
            {
                "logits": lambda: logits,
                "logistic": lambda: torch.sigmoid(logits),
                "probabilities": lambda: torch.cat((torch.zeros_like(logits), logits), -1).softmax(-1),
                "class_ids": lambda: class_ids,
                "classes": lambda: classes.names_of(class_ids),
                "all_class_ids": lambda: classes.all_ids(logits),
                "all_classes": lambda: classes.all_names(logits),
            },
            keys,
        )

    def export_outputs(self, predictions: Predictions) -> dict[str, ExportOutput]:
        """See `Head.export_outputs`."""
        classification = ClassificationOutput(predictions["probabilities"], predictions["all_classes"])
        return {
            DEFAULT_SERVING_SIGNATURE: classification,
            CLASSIFICATION_SIGNATURE: classification,
            REGRESSION_SIGNATURE: RegressionOutput(predictions["logistic"]),
            PREDICT_SIGNATURE: PredictOutput(predictions),
        }

    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ExampleHead.checked_labels`."""
        given = dense_labels(labels, logits, 1, "For more than two classes take a MultiClassHead.")
        numbers = given if self._classes.label_vocabulary is None else self._classes.ids_of(given)
        numbers = numbers.to(logits.dtype)
        if mask is not None:
            numbers = torch.where(mask, numbers, 0)
        return numbers_within(numbers, 0, 1, partial(self._classes.explain, given)), None

    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """See `ExampleHead.losses`."""
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")

    def batch_metrics(self, batch: ScoredBatch) -> dict[str, Metric]:
        """See `ExampleHead.batch_metrics`."""
        labels, weights = batch.labels, batch.weights
        class_ids = batch.logits > 0
        logistic = torch.sigmoid(batch.logits)
        return {
            "accuracy": metrics.accuracy(labels, class_ids, weights),
            "precision": metrics.precision(labels, class_ids, weights),
            "recall": metrics.recall(labels, class_ids, weights),
            "prediction/mean": metrics.mean(logistic, weights),
            "label/mean": metrics.mean(labels, weights),
            "accuracy_baseline": AccuracyBaseline().update(labels, weights),
            **areas_under_curves(labels, logistic, weights),
            **at_thresholds(self._thresholds, labels, logistic, weights),
        }
