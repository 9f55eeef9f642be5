"""Counts of events per example."""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from torchestimator.head.labels import numbers_within, shown
from torchestimator.head.reduction import SUM_OVER_BATCH_SIZE
from torchestimator.head.regression import RegressionHead
from torchestimator.head.weights import WeightColumn


class PoissonRegressionHead(RegressionHead):
    """Regression on counts with the negative log likelihood of a Poisson distribution (tf.estimator's).

    The logits are the logarithm of the rate: for a logit x and a label z the loss is exp(x) - x * z, and above z = 1
    Stirling's approximation of log(z!) is added, z * log(z) - z + log(2 * pi * z) / 2 (tf.nn.log_poisson_loss).

    Args:
        label_dimension: counts per example.
        weight_column: name of the feature with the weight of each example, or of each of its counts; or a numeric
            column of it.
        loss_reduction: "sum_over_batch_size" (the weighted sum over the number of labels), "sum" or "auto".
        compute_full_loss: whether Stirling's term is added; it does not depend on the model.
        name: ends the names of metrics and summaries.

    Raises:
        ValueError: an argument is not allowed.
        TypeError: an argument has the wrong type.
    """

    def __init__(
        self,
        label_dimension: int = 1,
        weight_column: WeightColumn | None = None,
        loss_reduction: str = SUM_OVER_BATCH_SIZE,
        compute_full_loss: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(label_dimension, weight_column, loss_reduction, None, torch.exp, name)
        self._compute_full_loss = compute_full_loss

    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """See `ExampleHead.checked_labels`."""
        numbers, valid = super().checked_labels(labels, logits, mask)
        return numbers_within(numbers, 0, math.inf, partial(_explain, numbers)), valid

    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """See `ExampleHead.losses`."""
        return F.poisson_nll_loss(logits, labels, log_input=True, full=self._compute_full_loss, reduction="none")


def _explain(labels: Tensor, bad: Tensor) -> str:
    return f"`labels` of a PoissonRegressionHead are counts, 0 or more. Received: {shown(labels, bad)}."
