"""Classes that do not exclude each other."""

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
)
from torchestimator.head.classes import Classes, LabelVocabulary
from torchestimator.head.example_head import ExampleHead, ScoredBatch
from torchestimator.head.head import CLASSIFICATION_SIGNATURE, PREDICT_SIGNATURE, Predictions, selected
from torchestimator.head.labels import dense_labels, numbers_within, shown
from torchestimator.head.loss_function import LossFn
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.threshold_metrics import areas_under_curves, at_thresholds, check_thresholds
from torchestimator.head.weights import WeightColumn
from torchestimator.metrics.metric import Metric


class MultiLabelHead(ExampleHead):
    """Classification where an example may belong to none, one or several classes (tf.estimator.MultiLabelHead).

    The loss of an example is the mean over the classes of the sigmoid cross entropy. Labels are an indicator
    [batch, n_classes] of 0 and 1 (or anything between), or the ids of each example's classes: a `torch.sparse_coo`
    tensor [batch, most classes of an example] or a jagged nested one. With `label_vocabulary` the latter hold
    fingerprints of strings (`te.inputs`).

    Args:
        n_classes: at least 2.
        weight_column: name of the feature with the weight of each example, or a numeric column of it.
        thresholds: where accuracy, precision and recall are to be measured, between 0 and 1.
        label_vocabulary: names of the classes, by id.
        loss_reduction: "sum_over_batch_size" (the weighted sum over the number of examples), "sum" or "auto".
        loss_fn: the loss of each example, [batch, 1], from `labels` (an indicator), `logits` and, if it likes,
            `features`.
        classes_for_class_based_metrics: ids, or names in `label_vocabulary`, of the classes that get metrics of
            their own.
        name: ends the names of metrics and summaries.

    Raises:
        ValueError: an argument is not allowed.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        n_classes: int,
        weight_column: WeightColumn | None = None,
        thresholds: Sequence[float] | None = None,
        label_vocabulary: LabelVocabulary | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        loss_fn: LossFn | None = None,
        classes_for_class_based_metrics: Sequence[int] | Sequence[str] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight_column, loss_reduction, loss_fn, 1, name)
        if not isinstance(n_classes, int) or n_classes < 2:
            raise ValueError(f"`n_classes` must be an integer, 2 or more. Received: n_classes={n_classes!r}.")
        self._thresholds = check_thresholds(thresholds)
        self._classes = Classes(n_classes, label_vocabulary)
        self._watched = _class_ids(classes_for_class_based_metrics or (), self._classes)

    @property
    def logits_dimension(self) -> int:
        """See `Head.logits_dimension`: `n_classes`."""
        return self._classes.count

    def predictions(self, logits: Any, keys: Sequence[str] | None = None) -> Predictions:
        """See `Head.predictions`.

        Returns:
            "logits" and "probabilities" [batch, n_classes]; "classes" [batch, n_classes], the names of all classes, the
            same in each row.
        """
        logits = self.checked_logits(logits)
        return selected(
            {
                "logits": lambda: logits,
                "probabilities": lambda: torch.sigmoid(logits),
                "classes": lambda: self._classes.all_names(logits),
            },
            keys,
        )

    def export_outputs(self, predictions: Predictions) -> dict[str, ExportOutput]:
        """See `Head.export_outputs`."""
        classification = ClassificationOutput(predictions["probabilities"], predictions["classes"])
        return {
            DEFAULT_SERVING_SIGNATURE: classification,
            CLASSIFICATION_SIGNATURE: classification,
            PREDICT_SIGNATURE: PredictOutput(predictions),
        }

    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ExampleHead.checked_labels`."""
        if labels.is_nested or labels.layout == torch.sparse_coo:
            return self._indicator(labels, logits)
        advice = "For the ids of each example's classes give a torch.sparse_coo tensor."
        given = dense_labels(labels, logits, self.logits_dimension, advice)
        indicator = given.to(logits.dtype)
        if mask is not None:
            indicator = torch.where(mask, indicator, 0)
        return numbers_within(indicator, 0, 1, partial(_explain_indicator, given)), None

    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """See `ExampleHead.losses`."""
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(-1, keepdim=True)

    def no_labels(self) -> Tensor:
        """See `ExampleHead.no_labels`."""
        return torch.zeros(0, self.logits_dimension)

    def batch_metrics(self, batch: ScoredBatch) -> dict[str, Metric]:
        """See `ExampleHead.batch_metrics`."""
        labels, weights = batch.labels, batch.weights
        probabilities = torch.sigmoid(batch.logits)
        found: dict[str, Metric] = {
            **areas_under_curves(labels, probabilities, weights),
            **at_thresholds(self._thresholds, labels, probabilities, weights),
        }
        vocabulary = self._classes.label_vocabulary
        for class_id in self._watched:
            of_class = f"class{class_id}" if vocabulary is None else vocabulary.strings[class_id]
            label, probability = labels[..., class_id, None], probabilities[..., class_id, None]
            found[f"probability_mean/{of_class}"] = metrics.mean(probability, weights)
            found.update(areas_under_curves(label, probability, weights, of_class))
        return found

    def _indicator(self, labels: Tensor, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """0 and 1 from the ids of each example's classes."""
        if logits.dim() != 2 or labels.dim() != 2 or labels.shape[0] != logits.shape[0]:
            raise ValueError(
                f"Sparse `labels` must be of shape [{logits.shape[0]}, classes of an example], for logits "
                f"{list(logits.shape)}. Received: shape {list(labels.shape)}."
            )
        if labels.is_nested:
            jagged: Any = labels
            values = jagged.values()
            rows = torch.arange(logits.shape[0], device=values.device)
            rows = rows.repeat_interleave(jagged.offsets().diff(), output_size=values.shape[0])
        else:
            # Not coalesced, which would add up ids that stand twice.
            values, rows = labels._values(), labels._indices()[0]
        ids, valid = self._classes.checked_ids(self._classes.ids_of(values), values)
        indicator = logits.new_zeros(logits.shape)
        indicator[rows, ids] = 1
        if valid is None:
            return indicator, None
        bad = logits.new_zeros(logits.shape[0], dtype=torch.int64).index_add_(0, rows, (~valid).to(torch.int64))
        return indicator, bad.unsqueeze(-1) == 0


def _explain_indicator(labels: Tensor, bad: Tensor) -> str:
    return (
        "`labels` must be an indicator of classes: 0 or 1 for each class. "
        f"Received: {shown(labels, bad)}. Ids of classes go into a torch.sparse_coo tensor."
    )


def _class_ids(chosen: Sequence[int] | Sequence[str], classes: Classes) -> tuple[int, ...]:
    ids: list[int] = []
    names = () if classes.label_vocabulary is None else classes.label_vocabulary.strings
    for each in chosen:
        if isinstance(each, str) and each in names:
            ids.append(names.index(each))
        elif isinstance(each, int) and 0 <= each < classes.count:
            ids.append(each)
        else:
            allowed = f"ids from 0 to {classes.count - 1}" + (f" or names of {list(names)}" if names else "")
            raise ValueError(f"`classes_for_class_based_metrics` must hold {allowed}. Received: {each!r}.")
    return tuple(ids)
