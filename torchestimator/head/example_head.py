"""What the heads with one loss per example have in common."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchestimator.head.head import Head, regularization_loss
from torchestimator.head.labels import labels_given
from torchestimator.head.loss_function import LossFn, LossFunction
from torchestimator.head.reduction import check_loss_reduction, reduced
from torchestimator.head.weights import WeightColumn, check_weight_column, weights_of
from torchestimator.metrics import Metric
from torchestimator.metrics.aggregation import mean
from torchestimator.tracing import sizes_are_numbers


@dataclass(frozen=True)
class ScoredBatch:
    """A batch with the loss of each of its examples."""

    logits: Tensor
    """[..., logits_dimension] floating point."""
    labels: Tensor
    """[..., outputs] checked: ids or numbers."""
    losses: Tensor
    """[..., outputs] or [..., 1], before weights."""
    weights: Tensor | None = None
    """[..., 1] or [..., outputs], 0 on padding; None: all 1."""
    count: Tensor | None = None
    """[] how many of the losses are not padding; None: all."""


class ExampleHead(Head):
    """A head whose loss is the weighted sum, or mean, of a loss per example.

    Args:
        weight_column: name of the feature with the weight of each example, or a numeric column of it.
        loss_reduction: one of `LOSS_REDUCTIONS`.
        loss_fn: a loss of one's own, see `LossFunction`.
        loss_outputs: last dimension of what `loss_fn` gives.
        name: ends the names of metrics and summaries.
    """

    def __init__(
        self,
        weight_column: WeightColumn | None,
        loss_reduction: str,
        loss_fn: LossFn | None,
        loss_outputs: int,
        name: str | None,
    ) -> None:
        if name is not None and not isinstance(name, str):
            raise TypeError(f"`name` of a head must be a string or None. Received: {name!r}.")
        self._weight_column = check_weight_column(weight_column)
        self._loss_reduction = check_loss_reduction(loss_reduction)
        self._loss_fn = None if loss_fn is None else LossFunction(loss_fn, loss_outputs)
        self._name = name

    @property
    def weight_key(self) -> str | None:
        """The name of the feature that holds the weights; None: there are none."""
        column = self._weight_column
        return column if column is None or isinstance(column, str) else column.key

    weights_per_output = False
    """Whether each output of an example may have a weight of its own."""

    @property
    def name(self) -> str | None:
        """See `Head.name`."""
        return self._name

    @property
    def loss_reduction(self) -> str:
        """See `Head.loss_reduction`."""
        return self._loss_reduction

    @abstractmethod
    def checked_labels(self, labels: Tensor, logits: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Labels as the loss takes them; called once per batch.

        Args:
            labels: as they were given.
            logits: [..., logits_dimension].
            mask: [..., 1] bool, False on padding, where labels may be anything; None: no padding.

        Returns:
            [..., outputs]; and bool [..., 1], False where the loss must become NaN, None: nowhere.
        """

    @abstractmethod
    def losses(self, labels: Tensor, logits: Tensor) -> Tensor:
        """The loss of each example without weights, [..., outputs] or [..., 1]; called unless there is a `loss_fn`.

        Args:
            labels: [..., outputs] from `checked_labels`.
            logits: [..., logits_dimension].
        """

    @abstractmethod
    def batch_metrics(self, batch: ScoredBatch) -> dict[str, Metric]:
        """Metrics that have seen one batch, by name without that of the head, beside "average_loss"."""

    def score(self, features: Any, logits: Tensor, labels: Any, mask: Tensor | None = None) -> ScoredBatch:
        """Checks a batch and gives each example its loss.

        Args:
            features: dict of features; only needed for weights.
            logits: [..., logits_dimension] floating point.
            labels: [...] or [..., outputs].
            mask: [..., 1] bool, False on padding, which then counts for nothing; None: no padding.

        Raises:
            ValueError: labels, logits or weights do not fit.
            TypeError: one of them has the wrong type.
        """
        logits = self.checked_logits(logits)
        if mask is not None:
            logits = torch.where(mask, logits, 0)
        checked, valid = self.checked_labels(labels_given(labels), logits, mask)
        if self._loss_fn is None:
            losses = self.losses(checked, logits)
        else:
            losses = self._loss_fn(checked, logits, features, self._loss_reduction)
        if valid is not None:
            losses = torch.where(valid, losses, torch.nan)
        weights = weights_of(features, self._weight_column, logits, mask, self.weights_per_output)
        count = None if mask is None else mask.sum() * losses.shape[-1]
        return ScoredBatch(logits, checked, losses, weights, count)

    def batch_loss(self, batch: ScoredBatch, regularization_losses: Sequence[Tensor] | None = None) -> Tensor:
        """The loss of a batch, [], from those of its examples."""
        loss = reduced(batch.losses, batch.weights, self._loss_reduction, batch.count)
        regularization = regularization_loss(regularization_losses)
        return loss if regularization is None else loss + regularization

    def seen(self, batch: ScoredBatch, regularization_losses: Sequence[Tensor] | None = None) -> dict[str, Metric]:
        """All metrics, under their full names, having seen one batch."""
        found: dict[str, Metric] = {"average_loss": mean(batch.losses, batch.weights)}
        found.update(self.batch_metrics(batch))
        regularization = regularization_loss(regularization_losses)
        if regularization is not None:
            found["regularization_loss"] = mean(regularization)
        return {self.key(name): metric for name, metric in found.items()}

    def checked_logits(self, logits: Any) -> Tensor:
        """Logits in float32 or float64, as every formula here wants them.

        Raises:
            TypeError: they are no floating point tensor.
            ValueError: their shape does not fit.
        """
        if not isinstance(logits, Tensor) or not logits.is_floating_point():
            received = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
            raise TypeError(f"`logits` must be a floating point tensor. Received: {received}.")
        if sizes_are_numbers() and (logits.dim() < 2 or logits.shape[-1] != self.logits_dimension):
            raise ValueError(
                f"`logits` must have the shape [batch, ..., {self.logits_dimension}] for a {type(self).__name__}. "
                f"Received: shape {list(logits.shape)}. Write: torch.nn.Linear(..., head.logits_dimension)"
            )
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def loss(
        self,
        labels: Any,
        logits: Any,
        features: Any = None,
        mode: str | None = None,  # noqa: ARG002
        regularization_losses: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """See `Head.loss`."""
        return self.batch_loss(self.score(features, logits, labels), regularization_losses)

    def metrics(self, regularization_losses: Sequence[Tensor] | None = None) -> dict[str, Metric]:
        """See `Head.metrics`."""
        # Made of no examples, and emptied so that their sums begin on the device of the first batch.
        nothing = torch.zeros(0, self.logits_dimension)
        found = self.seen(ScoredBatch(nothing, self.no_labels(), self.no_labels()), regularization_losses)
        for metric in found.values():
            metric.release()
        return found

    def no_labels(self) -> Tensor:
        """Labels of no example, [0, outputs]."""
        return torch.zeros(0, 1)

    def update_metrics(
        self,
        eval_metrics: dict[str, Metric],
        features: Any,
        logits: Any,
        labels: Any,
        mode: str | None = None,  # noqa: ARG002
        regularization_losses: Sequence[Tensor] | None = None,
    ) -> dict[str, Metric]:
        """See `Head.update_metrics`."""
        return merged(eval_metrics, self.seen(self.score(features, logits, labels), regularization_losses))

    def loss_and_metrics(
        self, features: Any, logits: Any, labels: Any, regularization_losses: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Metric]]:
        """See `Head.loss_and_metrics`."""
        batch = self.score(features, logits, labels)
        return self.batch_loss(batch, regularization_losses), self.seen(batch, regularization_losses)


def merged(eval_metrics: dict[str, Metric], seen: dict[str, Metric]) -> dict[str, Metric]:
    """Adds what the metrics of a batch have seen to metrics of the same names.

    Raises:
        ValueError: a name is missing.
    """
    missing = sorted(seen.keys() - eval_metrics.keys())
    if missing:
        raise ValueError(
            f"`eval_metrics` must be what `head.metrics(...)` returned, with the same `regularization_losses`. "
            f"Received: a dict without {missing}."
        )
    for name, metric in seen.items():
        eval_metrics[name].merge(metric)
    return eval_metrics
