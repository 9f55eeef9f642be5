"""What `model_fn` may put into `eval_metric_ops`: metrics of this package, and any `torchmetrics.Metric`.

torchmetrics is optional and never imported here: whoever hands over one of its objects has imported it.
"""

import sys
from types import ModuleType
from typing import Any, Self

import torch
from torch import Tensor

from torchestimator.metrics.metric import Metric


class TorchMetric(Metric):
    """A `torchmetrics.Metric` in the evaluation loop, updated by model_fn itself.

    model_fn may make a new object for every batch, or keep one object and update it each time: an object seen
    again has accumulated by itself, another one is merged in. Where all its states are sums (accuracy, F1, squared
    error, binned curves) they are in `state` and travel in the one all-reduce of the evaluation; other states
    (exact curves, maxima) are gathered by torchmetrics in `compute`, which every process calls.

    Args:
        metric: an updated torchmetrics metric.
    """

    def __init__(self, metric: Any) -> None:
        self.metric = metric

    @property
    def state(self) -> dict[str, Tensor]:
        """The states of the torchmetrics object if all of them are sums, else {}."""
        if not self._is_additive():
            return {}
        return {name: getattr(self.metric, name) for name in self.metric._reductions}

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        for name, tensor in state.items():
            setattr(self.metric, name, tensor)
        self._forget_computed()

    def update(self, *args: Any, **kwargs: Any) -> Self:
        """Adds a batch, with the arguments of the torchmetrics object."""
        self.metric.update(*args, **kwargs)
        return self

    def compute(self) -> Tensor:
        """The value of the torchmetrics object.

        Raises:
            TypeError: it is not a tensor, but a dict of them, say.
        """
        if self._is_additive():
            # The sums of all replicas are in place: nothing is left to communicate.
            is_distributed = self.metric.distributed_available_fn
            self.metric.distributed_available_fn = _never
            try:
                value = self.metric.compute()
            finally:
                self.metric.distributed_available_fn = is_distributed
        else:
            value = self.metric.compute()
        if isinstance(value, bool | int | float):
            return torch.tensor(value)
        if not isinstance(value, Tensor):
            raise TypeError(
                f"A metric in `eval_metric_ops` must compute one tensor. Received: {type(value).__name__} from "
                f"{type(self.metric).__name__}. Give one entry per value, each a torchmetrics metric of its own."
            )
        return value

    def merge(self, other: Self) -> Self:
        """Adds what `other` has seen and resets it, unless it is the same torchmetrics object.

        Raises:
            TypeError: `other` is another kind of metric.
            RuntimeError: torchmetrics cannot merge two such objects.
        """
        if not isinstance(other, TorchMetric) or type(other.metric) is not type(self.metric):
            received = type(other.metric if isinstance(other, TorchMetric) else other).__name__
            raise TypeError(
                "model_fn must give the same kind of metric under one name for every batch: "
                f"{type(self.metric).__name__}. Received: {received}."
            )
        if other.metric is self.metric:
            return self
        self._require_mergeable()
        self.metric.merge_state(other.metric)
        self._forget_computed()
        # An object kept by model_fn from the second batch on comes again: it must not bring this batch again.
        other.metric.reset()
        return self

    def release(self) -> None:
        """Resets the torchmetrics object, which model_fn may keep for the next evaluation."""
        self.metric.reset()

    def _is_additive(self) -> bool:
        metric = self.metric
        return (
            len(_members(metric)) == 1
            and bool(metric._reductions)
            and all(reduction is _torchmetrics().utilities.dim_zero_sum for reduction in metric._reductions.values())
            and all(isinstance(getattr(metric, name), Tensor) for name in metric._reductions)
            and metric.dist_sync_fn is None
        )

    def _require_mergeable(self) -> None:
        """Refuses the objects for which `merge_state` would drop or mix up states."""
        metric = self.metric
        if type(metric).merge_state is not _torchmetrics().Metric.merge_state:
            return
        utilities = _torchmetrics().utilities
        known = (utilities.dim_zero_sum, utilities.dim_zero_max, utilities.dim_zero_min, utilities.dim_zero_cat)
        if (
            len(_members(metric)) > 1
            or metric.full_state_update is not False
            or metric.dist_sync_on_step
            or not all(reduction in known for reduction in metric._reductions.values())
        ):
            raise RuntimeError(
                f"Two {type(metric).__name__} objects cannot be merged, so model_fn must not make a new one for each "
                "batch. Make it once outside model_fn and write: "
                'metric.update(predictions, labels); eval_metric_ops={"name": metric}'
            )

    def _forget_computed(self) -> None:
        # torchmetrics caches the value that model_fn may have computed, and clears it in `update` alone.
        self.metric._computed = None


def as_metric(value: Any, name: str) -> Metric:
    """A value of `eval_metric_ops` as the metric the evaluation loop merges; called for every batch.

    Args:
        value: a metric of this package, or an updated `torchmetrics.Metric`.
        name: its key, for errors.

    Returns:
        The metric itself, or a `TorchMetric` around it.

    Raises:
        TypeError: anything else.
        ValueError: a metric that has not seen the batch.
    """
    given = f'eval_metric_ops["{name}"]'
    if isinstance(value, TorchMetric):
        value = value.metric
    if isinstance(value, Metric):
        if not value.state:
            raise ValueError(
                f"`{given}` has not seen the batch. Write: {type(value).__name__}(...).update(labels, predictions)"
            )
        return value
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None and isinstance(value, torchmetrics.Metric):
        if not any(member.update_called for member in _members(value)):
            raise ValueError(
                f"`{given}` has not seen the batch. Write before it: metric.update(predictions, labels). "
                f"Received: {type(value).__name__}, never updated."
            )
        return TorchMetric(value)
    raise TypeError(f"`{given}` must be a metric. Received: {_describe(value)}. {_advice(value)}")


def _advice(value: Any) -> str:
    """The corrected line for what people pass in the place of a metric."""
    torchmetrics = sys.modules.get("torchmetrics")
    if torchmetrics is not None and isinstance(value, torchmetrics.MetricCollection):
        return "Write: eval_metric_ops={**collection}"
    if isinstance(value, Tensor):
        return (
            "A value of one batch cannot be accumulated; for its mean over the batches write: te.metrics.mean(value). "
            "Of a torchmetrics metric pass the object itself, not what it returns."
        )
    if isinstance(value, bool | int | float):
        return "For its mean over the batches write: te.metrics.mean(value)"
    if isinstance(value, tuple | list):
        return (
            "There are no (value, update_op) pairs here: pass what te.metrics.accuracy(labels, predictions) and its "
            "like return, or for the mean of a value over the batches: te.metrics.mean(value)"
        )
    return "Write for example: te.metrics.accuracy(labels, class_ids)"


def _describe(value: Any) -> str:
    return f"tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _torchmetrics() -> ModuleType:
    return sys.modules["torchmetrics"]


def _members(metric: Any) -> list[Any]:
    """The torchmetrics object and those it is composed of: a sum of two metrics, a wrapper and what it wraps."""
    return [module for module in metric.modules() if isinstance(module, _torchmetrics().Metric)]


def _never() -> bool:
    return False
