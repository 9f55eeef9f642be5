"""The contract of every metric: a monoid whose state is a handful of sums.

    metric = None
    for labels, predictions in batches:
        batch_metric = accuracy(labels, predictions)  # has seen this batch alone
        metric = batch_metric if metric is None else metric.merge(batch_metric)
    value = metric.compute()

Because merging is adding, the value depends neither on how the examples were cut into batches, nor on their
order, nor on the number of replicas: `pack_states` puts the sums of any number of metrics into one vector, and
one all-reduce of it is all the communication an evaluation needs. Nothing is read from the device before
`compute`, and the memory does not grow with the number of examples.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch import Tensor


class Metric(ABC):
    """A streaming metric, given to the evaluation loop by `model_fn` in `EstimatorSpec.eval_metric_ops`.

    A metric of one's own says in `update` what a batch contributes, and in `compute` what the sums mean:

        class BrierScore(te.metrics.Metric):
            def update(self, labels, probabilities):
                squares = (probabilities - labels).double() ** 2
                return self.accumulate(total=squares.sum(), count=torch.ones_like(squares).sum())

            def compute(self):
                return self.state["total"] / self.state["count"]

        eval_metric_ops={"brier": BrierScore().update(labels, probabilities)}

    Often the mean of a per-example value is enough: `te.metrics.mean((probabilities - labels) ** 2)`.
    """

    state: dict[str, Tensor]
    """The sums, on the device of the batches; {} before the first update. Every entry must be additive: the
    state of two batches together is the sum of their states."""

    def __init__(self) -> None:
        self.state = {}

    @abstractmethod
    def update(self, *args: Any, **kwargs: Any) -> Self:
        """Adds a batch; called inside model_fn, so without host reads, and traceable by torch.compile."""

    @abstractmethod
    def compute(self) -> Tensor:
        """The value over everything added so far; called at the end of an evaluation, on every process."""

    def accumulate(self, **batch_state: Tensor) -> Self:
        """Adds the sums of one batch to the state; what `update` ends with.

        Args:
            **batch_state: the same names with the same shapes at each call.

        Raises:
            ValueError: the names or the shapes are not those of the earlier batches.
        """
        if not self.state:
            self.state = batch_state
            return self
        if self.state.keys() != batch_state.keys():
            raise ValueError(
                f"The state of a {type(self).__name__} must keep its names from batch to batch: {sorted(self.state)}. "
                f"Received: {sorted(batch_state)}."
            )
        for name, batch_sum in batch_state.items():
            if batch_sum.shape != self.state[name].shape:
                raise ValueError(
                    f"The state `{name}` of a {type(self).__name__} must keep its shape from batch to batch: "
                    f"{list(self.state[name].shape)}. Received: {list(batch_sum.shape)}."
                )
        # Not in place: the tensors may belong to the caller, or may be inference tensors.
        self.state = {name: total + batch_state[name] for name, total in self.state.items()}
        return self

    def merge(self, other: Self) -> Self:
        """Adds what `other` has seen; called by the evaluation loop once per batch.

        The same object given again (one metric that model_fn itself keeps and updates) has accumulated by itself
        and is left as it is.

        Raises:
            TypeError: `other` is another kind of metric.
        """
        if other is self or not other.state:
            return self
        if type(other) is not type(self):
            raise TypeError(
                f"model_fn must give the same kind of metric under one name for every batch: {type(self).__name__}. "
                f"Received: {type(other).__name__}."
            )
        return self.accumulate(**other.state)

    def release(self) -> None:
        """Forgets everything; called when an evaluation has ended or failed, so that the next starts from nothing."""
        self.state = {}


def accumulator_dtype(device: torch.device) -> torch.dtype:
    """The dtype of sums: float64 (counts are exact up to 2**53), or float32 on a device without float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def divide(numerator: Tensor, denominator: Tensor, empty: float = 0.0) -> Tensor:
    """`numerator / denominator`, and `empty` where the denominator is 0; NaN stays NaN (`tf.math.divide_no_nan`)."""
    return torch.where(denominator == 0, empty, numerator / denominator)


def pack_states(metrics: Iterable[Metric], device: torch.device) -> Tensor:
    """All states of all metrics in one vector: what a distributed strategy adds up in a single all-reduce.

    Args:
        metrics: in the same order on every process.
        device: where the reduction happens.

    Returns:
        [numbers], in the accumulator dtype of `device`.
    """
    dtype = accumulator_dtype(device)
    pieces = [tensor.reshape(-1).to(device, dtype) for metric in metrics for tensor in metric.state.values()]
    return torch.cat(pieces) if pieces else torch.zeros(0, dtype=dtype, device=device)


def unpack_states(metrics: Iterable[Metric], vector: Tensor) -> None:
    """Puts the numbers of `vector`, laid out as by `pack_states`, in the place of the states of the metrics."""
    offset = 0
    for metric in metrics:
        state = {}
        for name, tensor in metric.state.items():
            piece = vector[offset : offset + tensor.numel()]
            state[name] = piece.reshape(tensor.shape).to(tensor.device, tensor.dtype)
            offset += tensor.numel()
        metric.state = state
