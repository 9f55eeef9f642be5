"""Three or more classes that exclude each other."""

from collections.abc import Sequence
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
from torchestimator.head.labels import dense_labels
from torchestimator.head.loss_function import LossFn
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.weights import WeightColumn
from torchestimator.metrics.metric import Metric


class MultiClassHead(ExampleHead):
    """Classification into three or more classes with softmax cross entropy (tf.estimator.MultiClassHead).

    Labels [batch] or [batch, 1] are integers from 0 to n_classes - 1; with `label_vocabulary`, strings.

    Args:
        n_classes: at least 3; for two take a BinaryClassHead.
        weight_column: name of the feature with the weight of each example, or a numeric column of it.
        label_vocabulary: names of the classes, by id.
        loss_reduction: "sum_over_batch_size" (the weighted sum over the number of examples), "sum" or "auto".
        loss_fn: the loss of each example, [batch, 1], from `labels` (ids, [batch, 1]), `logits` and, if it likes,
            `features`.
        name: ends the names of metrics and summaries.

    Raises:
        ValueError: an argument is not allowed.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        n_classes: int,
        weight_column: WeightColumn | None = None,
        label_vocabulary: LabelVocabulary | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        loss_fn: LossFn | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(weight_column, loss_reduction, loss_fn, 1, name)
        if not isinstance(n_classes, int) or n_classes <= 2:
            raise ValueError(
                "`n_classes` must be an integer above 2; for two classes take a BinaryClassHead. "
                f"Received: n_classes={n_classes!r}."
            )
        self._classes = Classes(n_classes, label_vocabulary)

    @property
    def logits_dimension(self) -> int:
        """See `Head.logits_dimension`: `n_classes`."""
        return self._classes.count

    def predictions(self, logits: Any, keys: Sequence[str] | None = None) -> Predictions:
        """See `Head.predictions`.

        Returns:
            "logits" and "probabilities" [batch, n_classes]; "class_ids" [batch, 1] int64, the most probable;
            "classes" [batch, 1], their names; "all_class_ids" [batch, n_classes] int32 and "all_classes"
            [batch, n_classes], the same in each row.
        """
        logits = self.checked_logits(logits)
        class_ids = logits.argmax(-1, keepdim=True)
        classes = self._classes
        return selected(
            {
                "logits": lambda: logits,
                "probabilities": lambda: logits.softmax(-1),
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
            PREDICT_SIGNATURE: PredictOutput(predictions),
        }

    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ExampleHead.checked_labels`."""
        given = dense_labels(labels, logits, 1, "For one-hot labels write: labels.argmax(-1)")
        ids = self._classes.ids_of(given)
        if mask is not None:
            ids = torch.where(mask, ids, 0)
        return self._classes.checked_ids(ids, given)

    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """See `ExampleHead.losses`."""
        flat = F.cross_entropy(logits.flatten(0, -2), labels.reshape(-1), reduction="none")
        return flat.reshape(labels.shape)

    def no_labels(self) -> Tensor:
        """See `ExampleHead.no_labels`."""
        return torch.zeros(0, 1, dtype=torch.int64)

    def batch_metrics(self, batch: ScoredBatch) -> dict[str, Metric]:
        """See `ExampleHead.batch_metrics`."""
        class_ids = batch.logits.argmax(-1, keepdim=True)
        return {"accuracy": metrics.accuracy(batch.labels, class_ids, batch.weights)}
