"""One or more numbers per example."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator import metrics
from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE, ExportOutput, PredictOutput, RegressionOutput
from torchestimator.head.example_head import ExampleHead, ScoredBatch
from torchestimator.head.head import PREDICT_SIGNATURE, REGRESSION_SIGNATURE, Predictions, selected
from torchestimator.head.labels import dense_labels
from torchestimator.head.loss_function import LossFn
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.weights import WeightColumn
from torchestimator.metrics.metric import Metric


class RegressionHead(ExampleHead):
    """Regression with the squared error (tf.estimator.RegressionHead).

    Labels are numbers [batch, label_dimension]; [batch] does for one.

    Args:
        label_dimension: numbers per example.
        weight_column: name of the feature with the weight of each example, or of each of its numbers; or a numeric
            column of it.
        loss_reduction: "sum_over_batch_size" (the weighted sum over the number of labels), "sum" or "auto".
        loss_fn: the loss of each label, [batch, label_dimension], from `labels`, `logits` and, if it likes, `features`.
        inverse_link_fn: from logits to predictions; None: they are the same.
        name: ends the names of metrics and summaries.

    Raises:
        ValueError: an argument is not allowed.
        TypeError: an argument has the wrong type.
    """

    weights_per_output = True

    def __init__(
        self,
        label_dimension: int = 1,
        weight_column: WeightColumn | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        loss_fn: LossFn | None = None,
        inverse_link_fn: Callable[[Tensor], Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(label_dimension, int) or label_dimension < 1:
            raise ValueError(
                f"`label_dimension` must be a positive integer. Received: label_dimension={label_dimension!r}."
            )
        super().__init__(weight_column, loss_reduction, loss_fn, label_dimension, name)
        if inverse_link_fn is not None and not callable(inverse_link_fn):
            raise TypeError(
                "`inverse_link_fn` must be a function from logits to predictions. "
                f"Received: {inverse_link_fn!r}. Write: inverse_link_fn=torch.exp"
            )
        self._label_dimension = label_dimension
        self._inverse_link_fn = inverse_link_fn

    @property
    def logits_dimension(self) -> int:
        """See `Head.logits_dimension`: `label_dimension`."""
        return self._label_dimension

    def predictions(self, logits: Any, keys: Sequence[str] | None = None) -> Predictions:
        """See `Head.predictions`.

        Returns:
            "predictions" [batch, label_dimension]; with an `inverse_link_fn` also "logits", of the same shape.
        """
        logits = self.checked_logits(logits)
        link = self._inverse_link_fn
        if link is None:
            return selected({"predictions": lambda: logits}, keys)
        return selected({"predictions": lambda: link(logits), "logits": lambda: logits}, keys)

    def export_outputs(self, predictions: Predictions) -> dict[str, ExportOutput]:
        """See `Head.export_outputs`."""
        regression = RegressionOutput(predictions["predictions"])
        return {
            DEFAULT_SERVING_SIGNATURE: regression,
            REGRESSION_SIGNATURE: regression,
            PREDICT_SIGNATURE: PredictOutput(predictions),
        }

    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ExampleHead.checked_labels`."""
        advice = f"The head was made with label_dimension={self._label_dimension}."
        numbers = dense_labels(labels, logits, self._label_dimension, advice).to(logits.dtype)
        return (numbers if mask is None else torch.where(mask, numbers, 0)), None

    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """See `ExampleHead.losses`."""
        return F.mse_loss(logits, labels, reduction="none")

    def no_labels(self) -> Tensor:
        """See `ExampleHead.no_labels`."""
        return torch.zeros(0, self._label_dimension)

    def batch_metrics(self, batch: ScoredBatch) -> dict[str, Metric]:
        """See `ExampleHead.batch_metrics`."""
        predicted = batch.logits if self._inverse_link_fn is None else self._inverse_link_fn(batch.logits)
        return {
            "prediction/mean": metrics.mean(predicted, batch.weights),
            "label/mean": metrics.mean(batch.labels, batch.weights),
        }
