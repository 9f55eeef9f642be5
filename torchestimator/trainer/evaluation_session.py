"""The state of an evaluation, and its step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchestimator.hooks.hook import SessionRunArgs
from torchestimator.metrics.aggregation import Mean
from torchestimator.metrics.metric import Metric
from torchestimator.metrics.torchmetric import as_metric
from torchestimator.model.module import ModelFnModule
from torchestimator.spec import EstimatorSpec
from torchestimator.strategy.strategy import Batch, BatchStream, Strategy
from torchestimator.trainer.fetch import StepValues
from torchestimator.trainer.inference_capture import InferenceCapture
from torchestimator.trainer.session import LoopSession

RESERVED = ("loss", "global_step")
"""Names of results that every evaluation has."""


class EvaluationSession(LoopSession):
    """Metrics of a model over the batches seen so far, kept on the device.

    Args:
        module: the built model, in EVAL mode.
        strategy: where it runs.
        stream: the batches.
        precision: arithmetic of the forward pass.
        capture: the model's compiled graphs; None: batches run eagerly.
    """

    def __init__(
        self,
        module: ModelFnModule,
        strategy: Strategy,
        stream: BatchStream,
        precision: str,
        capture: InferenceCapture | None = None,
    ) -> None:
        super().__init__(module, strategy, stream, precision)
        self._capture = capture
        self._running: dict[str, Metric] = {}
        self._loss: Metric | None = None

    def step(self, requests: Sequence[SessionRunArgs | None]) -> bool:
        """Takes in one batch; False if there was none left."""
        with torch.no_grad():
            batch = self._next_batch(requests)
            if batch is None:
                return False
            self._take_in(batch, requests)
        return True

    def _take_in(self, batch: Batch, requests: Sequence[SessionRunArgs | None]) -> None:
        self._batch = batch
        batch_loss, batch_metrics = self._captured(batch, requests) or self._eager(batch)
        is_first = self._loss is None
        self._add_loss(batch_loss.detach(), batch)
        if is_first:
            _check_names(batch_metrics)
            self._running = batch_metrics
            return
        if batch_metrics.keys() != self._running.keys():
            raise ValueError(
                f"`eval_metric_ops` must have the same names for every batch. Received: {sorted(batch_metrics)} "
                f"after {sorted(self._running)}."
            )
        for name, metric in batch_metrics.items():
            self._running[name].merge(metric)

    def _add_loss(self, loss: Tensor, batch: Batch) -> None:  # noqa: ARG002 - replicas weigh batches
        mean = Mean().update(loss)
        self._loss = mean if self._loss is None else self._loss.merge(mean)

    def _captured(
        self, batch: Batch, requests: Sequence[SessionRunArgs | None]
    ) -> tuple[Tensor, dict[str, Metric]] | None:
        if self._capture is None or any(request is not None for request in requests):
            return None  # hooks see what model_fn gives, which a graph does not have
        self._spec = None
        return self._capture.evaluate(batch, may_begin=self._loss is None)

    def _eager(self, batch: Batch) -> tuple[Tensor, dict[str, Metric]]:
        with self._around_forward():
            spec: EstimatorSpec = self._call(batch.features, batch.labels)
        self._take(batch, spec)
        assert spec.loss is not None
        return spec.loss, {name: as_metric(value, name) for name, value in (spec.eval_metric_ops or {}).items()}

    def _values(self, fetches: Any) -> StepValues:
        if self._spec is None and self._batch is not None:
            with torch.no_grad():
                self._eager(self._batch)
        return super()._values(fetches)

    def results(self) -> dict[str, Any]:
        """All metrics, with "loss" (the mean over batches) and "global_step".

        Raises:
            ValueError: there was no batch.
        """
        if self._loss is None:
            raise ValueError("The evaluation's input_fn gave no batch, so there is nothing to measure.")
        arrays = self._computed({**self._running, "loss": self._loss})
        return {**{name: array[()] for name, array in arrays.items()}, "global_step": self.global_step}

    def _computed(self, metrics: Mapping[str, Metric]) -> dict[str, np.ndarray[Any, Any]]:
        with torch.no_grad():
            values = [torch.as_tensor(metric.compute()) for metric in metrics.values()]
        return dict(zip(metrics, self._strategy.to_host(values), strict=True))

    def close(self) -> None:
        """Frees the input, and lets go of metric objects that belong to the user."""
        self._stream.close()
        for metric in self._running.values():
            metric.release()

    def _metrics(self) -> dict[str, Any] | None:
        return self._running if self._loss is None else {**self._running, "loss": self._loss}


def _check_names(metrics: dict[str, Metric]) -> None:
    for name in RESERVED:
        if name in metrics:
            raise ValueError(
                f"`eval_metric_ops` must not have a metric called {name!r}: every evaluation reports its "
                "own under that "
                "name. Choose another."
            )
