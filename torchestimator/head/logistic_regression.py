"""A share between 0 and 1 per example."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator.head.labels import numbers_within, shown
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.regression import RegressionHead
from torchestimator.head.weights import WeightColumn


class LogisticRegressionHead(RegressionHead):
    """Regression on labels in [0, 1], such as click rates, with sigmoid cross entropy (tf.estimator's).

    Args:
        weight_column: name of the feature with the weight of each example, or a numeric column of it.
        loss_reduction: "sum_over_batch_size" (the weighted sum over the number of examples), "sum" or "auto".
        name: ends the names of metrics and summaries.

    Raises:
        ValueError: an argument is not allowed.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        weight_column: WeightColumn | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        name: str | None = None,
    ) -> None:
        super().__init__(1, weight_column, loss_reduction, None, torch.sigmoid, name)

    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ExampleHead.checked_labels`."""
        numbers, valid = super().checked_labels(labels, logits, mask)
        return numbers_within(numbers, 0, 1, partial(_explain, numbers)), valid

    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """See `ExampleHead.losses`."""
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


def _explain(labels: Tensor, bad: Tensor) -> str:
    return f"`labels` of a LogisticRegressionHead must be between 0 and 1. Received: {shown(labels, bad)}."
