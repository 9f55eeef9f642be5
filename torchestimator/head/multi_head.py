"""Several heads on one model."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from torchestimator import summary
from torchestimator.export.outputs import DEFAULT_SERVING_SIGNATURE, ExportOutput, PredictOutput
from torchestimator.head.example_head import merged
from torchestimator.head.head import PREDICT_SIGNATURE, Head, Predictions, regularization_loss
from torchestimator.metrics.aggregation import Mean, mean
from torchestimator.metrics.metric import Metric
from torchestimator.mode_keys import ModeKeys
from torchestimator.tracing import sizes_are_numbers


class MultiHead(Head):
    """Trains several objectives at once, each with a head of its own (tf.estimator.MultiHead).

    The logits are a dict by head name, or one tensor [batch, logits_dimension] that is split in the order of the heads;
    labels are a dict by head name. The loss is the weighted sum of theirs. Predictions are keyed by the tuples
    (head, key). In training the loss of each head is a summary too. Evaluation has the metrics of every head, which
    their names tell apart, and "loss/<head>" for each.

    Args:
        heads: each with a name of its own.
        head_weights: factor of each head's loss; None: all 1.

    Raises:
        ValueError: there is no head, one has no name, two have the same, or there are more or fewer weights.
        TypeError: something in `heads` is no head.
    """

    def __init__(self, heads: Sequence[Head], head_weights: Sequence[float] | None = None) -> None:
        if not heads:
            raise ValueError(f"`heads` must hold at least one head. Received: {heads!r}.")
        for head in heads:
            if not isinstance(head, Head):
                raise TypeError(f"`heads` must hold heads. Received: {head!r}.")
        self._heads = {head.name: head for head in heads if head.name}
        if len(self._heads) != len(heads):
            names = [head.name for head in heads]
            raise ValueError(
                "Each of `heads` needs a name of its own, by which its labels and metrics are called. "
                f'Received: names {names}. Write: te.RegressionHead(name="price")'
            )
        if head_weights and len(head_weights) != len(heads):
            raise ValueError(
                "`head_weights` must hold one number for each head. "
                f"Received: {len(head_weights)} weights for {len(heads)} heads."
            )
        self._head_weights = tuple(head_weights) if head_weights else None

    @property
    def name(self) -> str:
        """See `Head.name`: the names of the heads, joined with "_"."""
        return "_".join(self._heads)

    @property
    def logits_dimension(self) -> int:
        """See `Head.logits_dimension`: the sum over the heads."""
        return sum(head.logits_dimension for head in self._heads.values())

    @property
    def loss_reduction(self) -> str:
        """See `Head.loss_reduction`; it must be the same for all heads.

        Raises:
            ValueError: it is not.
        """
        reductions = {name: head.loss_reduction for name, head in self._heads.items()}
        if len(set(reductions.values())) > 1:
            raise ValueError(f"All heads must have the same `loss_reduction`. Received: {reductions}.")
        return next(iter(reductions.values()))

    def loss(
        self,
        labels: Any,
        logits: Any,
        features: Any = None,
        mode: str | None = None,
        regularization_losses: Sequence[Tensor] | None = None,
    ) -> Tensor:
        """See `Head.loss`."""
        each, given = self._logits_of(logits), self._labels_of(labels)
        losses = {
            name: head.loss(given[name], each[name], features=features, mode=mode) for name, head in self._heads.items()
        }
        if mode == ModeKeys.TRAIN:
            _ = self.loss_reduction
            for name, head in self._heads.items():
                head.record_summaries(losses[name], None)
        return self._total(losses, regularization_losses)

    def predictions(self, logits: Any, keys: Sequence[Any] | None = None) -> Predictions:
        """See `Head.predictions`.

        Args:
            logits: dict by head name, or [batch, ..., logits_dimension].
            keys: tuples (head, key); None: all.

        Returns:
            Those of each head, by (head, key).

        Raises:
            ValueError: there is no such prediction.
        """
        each = self._logits_of(logits)
        found: Predictions = {
            (name, key): value
            for name, head in self._heads.items()
            for key, value in head.predictions(each[name]).items()
        }
        unknown = [key for key in keys or () if key not in found]
        if unknown:
            raise ValueError(f"`keys` must be among {list(found)}. Received: {unknown}.")
        return {key: value for key, value in found.items() if not keys or key in keys}

    def export_outputs(self, predictions: Predictions) -> dict[str, ExportOutput]:
        """See `Head.export_outputs`.

        Returns:
            The default of the first head as the default; of each head its default as "<head>", and its signatures as
            "<head>/<signature>"; and "predict" with all predictions, called "<head>/<key>".
        """
        found: dict[str, ExportOutput] = {}
        together: dict[str, Any] = {}
        for name, head in self._heads.items():
            own = {key: value for (owner, key), value in predictions.items() if owner == name}
            for signature, output in head.export_outputs(own).items():
                if signature == DEFAULT_SERVING_SIGNATURE:
                    found.setdefault(signature, output)
                    found[name] = output
                else:
                    found[f"{name}/{signature}"] = output
                if signature == PREDICT_SIGNATURE:
                    together.update({f"{name}/{key}": value for key, value in output.outputs.items()})
        found[PREDICT_SIGNATURE] = PredictOutput(together)
        return found

    def metrics(self, regularization_losses: Sequence[Tensor] | None = None) -> dict[str, Metric]:
        """See `Head.metrics`."""
        found: dict[str, Metric] = {}
        if regularization_loss(regularization_losses) is not None:
            found[self.key("regularization_loss")] = Mean()
        for name, head in self._heads.items():
            found[f"loss/{name}"] = Mean()
            found.update(head.metrics())
        return found

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
        return merged(eval_metrics, self.loss_and_metrics(features, logits, labels, regularization_losses)[1])

    def loss_and_metrics(
        self, features: Any, logits: Any, labels: Any, regularization_losses: Sequence[Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Metric]]:
        """See `Head.loss_and_metrics`."""
        each, given = self._logits_of(logits), self._labels_of(labels)
        losses: dict[str, Tensor] = {}
        found: dict[str, Metric] = {}
        regularization = regularization_loss(regularization_losses)
        if regularization is not None:
            found[self.key("regularization_loss")] = mean(regularization)
        for name, head in self._heads.items():
            losses[name], seen = head.loss_and_metrics(features, each[name], given[name])
            found[f"loss/{name}"] = mean(losses[name])
            found.update(seen)
        return self._total(losses, regularization_losses), found

    def record_summaries(self, loss: Tensor, regularization_losses: Sequence[Tensor] | None) -> None:
        """See `Head.record_summaries`: those of all heads together are called simply "loss" and so on."""
        summary.scalar("loss", loss)
        regularization = regularization_loss(regularization_losses)
        if regularization is not None:
            summary.scalar("regularization_loss", regularization)

    def _total(self, losses: Mapping[str, Tensor], regularization_losses: Sequence[Tensor] | None) -> Tensor:
        factors = self._head_weights or (1.0,) * len(losses)
        parts = [loss if factor == 1 else loss * factor for loss, factor in zip(losses.values(), factors, strict=True)]
        regularization = regularization_loss(regularization_losses)
        return sum(parts[1:] if regularization is None else [*parts[1:], regularization], start=parts[0])

    def _logits_of(self, logits: Any) -> Mapping[str, Tensor]:
        if isinstance(logits, Mapping):
            self._refuse_missing("logits", logits)
            return logits
        sizes = [head.logits_dimension for head in self._heads.values()]
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"`logits` must be a tensor, or a dict of tensors by head name. Received: {type(logits).__name__}."
            )
        if sizes_are_numbers() and (logits.dim() < 2 or logits.shape[-1] != sum(sizes)):
            wanted = dict(zip(self._heads, sizes, strict=True))
            raise ValueError(
                f"`logits` must have the last dimension {sum(sizes)}, to be split among the heads as {wanted}. "
                f"Received: shape {list(logits.shape)}."
            )
        return dict(zip(self._heads, torch.split(logits, sizes, -1), strict=True))

    def _labels_of(self, labels: Any) -> Mapping[str, Any]:
        if not isinstance(labels, Mapping):
            example = ", ".join(f'"{name}": ...' for name in self._heads)
            raise TypeError(
                "`labels` of a MultiHead must be a dict by head name. "
                f"Received: {type(labels).__name__}. Write: labels={{{example}}}"
            )
        self._refuse_missing("labels", labels)
        return labels

    def _refuse_missing(self, argument: str, given: Mapping[str, Any]) -> None:
        missing = [name for name in self._heads if name not in given]
        if missing:
            raise ValueError(
                f"`{argument}` must have an entry for each head; there is none for {missing}. "
                f"Received: {sorted(map(str, given))}."
            )
