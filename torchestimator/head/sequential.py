"""A label at each step of a sequence."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchestimator.export.outputs import ExportOutput
from torchestimator.head.example_head import ExampleHead, ScoredBatch, merged
from torchestimator.head.head import Head, Predictions, TrainOpFn
from torchestimator.metrics.metric import Metric
from torchestimator.mode_keys import ModeKeys
from torchestimator.spec import EstimatorSpec
from torchestimator.train_op.description import OptimizerFn, VarList


class SequentialHeadWrapper(Head):
    """Applies a head to every step of padded sequences (tf.estimator's SequentialHeadWrapper).

    Logits are [batch, steps, logits_dimension], labels [batch, steps] or [batch, steps, outputs]. Where the mask is 0
    there is padding, which counts for nothing in loss and metrics whatever it holds. The numbers are those of the
    steps taken out and put one after the other, but every shape stays fixed, so that a step can be captured.

    Args:
        static_head: one of the heads of this package, other than a MultiHead.
        sequence_length_mask: name of the feature [batch, steps] that is 1 where there is a step.
        feature_columns: names of the features [batch, steps, ...] that the head needs, such as weights.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: the weights of the head are not among the `feature_columns`.
    """

    def __init__(
        self,
        static_head: ExampleHead,
        sequence_length_mask: str = "sequence_length_mask",
        feature_columns: str | Iterable[str] | None = None,
    ) -> None:
        if not isinstance(static_head, ExampleHead):
            raise TypeError(
                "`static_head` must be a head with one loss per example, such as a MultiClassHead; not a MultiHead. "
                f"Received: {type(static_head).__name__}."
            )
        if not isinstance(sequence_length_mask, str):
            raise TypeError(
                f"`sequence_length_mask` must be the name of a feature. Received: {sequence_length_mask!r}."
            )
        columns = [feature_columns] if isinstance(feature_columns, str) else list(feature_columns or ())
        if not all(isinstance(column, str) for column in columns):
            raise TypeError(f"`feature_columns` must hold names of features. Received: {columns!r}.")
        if static_head.weight_key is not None and static_head.weight_key not in columns:
            raise ValueError(
                f"`feature_columns` must hold the feature of weights of the head, {static_head.weight_key!r}. "
                f"Received: {columns}."
            )
        self._static_head = static_head
        self._mask_key = sequence_length_mask
        self._columns = tuple(columns)

    @property
    def static_head(self) -> ExampleHead:
        """The head that is applied to each step."""
        return self._static_head

    @property
    def input_sequence_mask_key(self) -> str:
        """The name of the feature that is 1 where there is a step."""
        return self._mask_key

    @property
    def name(self) -> str | None:
        """See `Head.name`: that of the head and "_sequential"; metrics and summaries are called as the head's."""
        return f"{self._static_head.name}_sequential" if self._static_head.name else None

    @property
    def logits_dimension(self) -> int:
        """See `Head.logits_dimension`."""
        return self._static_head.logits_dimension

    @property
    def loss_reduction(self) -> str:
        """See `Head.loss_reduction`."""
        return self._static_head.loss_reduction

    def loss(
        self,
        labels: Any,
        logits: Any,
        features: Any = None,
        mode: str | None = None,  # noqa: ARG002
        regularization_losses: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """See `Head.loss`."""
        return self._static_head.batch_loss(self._score(features, logits, labels), regularization_losses)

    def predictions(self, logits: Any, keys: Sequence[str] | None = None) -> Predictions:
        """See `Head.predictions`: those of the head, with the steps as second dimension."""
        return self._static_head.predictions(logits, keys)

    def export_outputs(self, predictions: Predictions) -> dict[str, ExportOutput]:
        """See `Head.export_outputs`: those of the head."""
        return self._static_head.export_outputs(predictions)

    def metrics(self, regularization_losses: Sequence[Tensor] | None = None) -> dict[str, Metric]:
        """See `Head.metrics`: those of the head."""
        return self._static_head.metrics(regularization_losses)

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
        batch = self._score(features, logits, labels)
        return merged(eval_metrics, self._static_head.seen(batch, regularization_losses))

    def loss_and_metrics(
        self, features: Any, logits: Any, labels: Any, regularization_losses: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Metric]]:
        """See `Head.loss_and_metrics`."""
        batch, head = self._score(features, logits, labels), self._static_head
        return head.batch_loss(batch, regularization_losses), head.seen(batch, regularization_losses)

    def record_summaries(self, loss: Tensor, regularization_losses: Sequence[Tensor] | None) -> None:
        """See `Head.record_summaries`: those of the head."""
        self._static_head.record_summaries(loss, regularization_losses)

    def create_estimator_spec(
        self,
        features: Any,
        mode: str,
        logits: Any,
        labels: Any = None,
        optimizer: OptimizerFn | None = None,
        trainable_variables: VarList | None = None,
        train_op_fn: TrainOpFn | None = None,
        update_ops: None = None,
        regularization_losses: Sequence[Tensor] | None = None,
    ) -> EstimatorSpec:
        """See `Head.create_estimator_spec`; in PREDICT the mask is among the predictions."""
        spec = super().create_estimator_spec(
            features,
            mode,
            logits,
            labels,
            optimizer,
            trainable_variables,
            train_op_fn,
            update_ops,
            regularization_losses,
        )
        if mode == ModeKeys.PREDICT and isinstance(spec.predictions, dict):
            spec.predictions[self._mask_key] = self._mask(features)
        return spec

    def _score(self, features: Any, logits: Any, labels: Any) -> ScoredBatch:
        mask = self._mask(features)
        if not isinstance(logits, Tensor) or logits.dim() != 3 or logits.shape[:-1] != mask.shape:
            received = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ValueError(
                f"`logits` must have the shape [batch, steps, {self.logits_dimension}], with the batch and steps "
                f"of the mask {list(mask.shape)}. Received: {received}."
            )
        missing = [column for column in self._columns if column not in features]
        if missing:
            raise ValueError(
                f"`feature_columns` names features that are not there: {missing}. "
                f"Received: features {sorted(features)}."
            )
        needed = {column: features[column] for column in self._columns}
        return self._static_head.score(needed, logits, labels, mask=(mask != 0).unsqueeze(-1))

    def _mask(self, features: Any) -> Tensor:
        if not isinstance(features, Mapping) or self._mask_key not in features:
            received = f"features {sorted(features)}" if isinstance(features, Mapping) else type(features).__name__
            raise ValueError(
                f"`features` must hold the mask of steps, {self._mask_key!r} (`sequence_length_mask`). "
                f"Received: {received}."
            )
        mask = torch.as_tensor(features[self._mask_key])
        if mask.dim() != 2:
            raise ValueError(
                f"The mask of steps, {self._mask_key!r}, must have the shape [batch, steps]. "
                f"Received: shape {list(mask.shape)}."
            )
        return mask
